using System;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>The native library, libholepunch.</summary>
    public static class Library
    {
        private static readonly object gate = new object();
        private static volatile bool isChecked;

        /// <summary>The library's version, such as "0.1.0".</summary>
        /// <exception cref="HolePunchException">The library is missing or has another binary interface.</exception>
        public static unsafe string Version
        {
            get
            {
                EnsureUsable();
                return Interop.Text(NativeMethods.hp_version());
            }
        }

        /// <summary>Throws an exception that says what to do if the library cannot be used.</summary>
        internal static void EnsureUsable()
        {
            if (isChecked)
                return;
            lock (gate)
            {
                uint abi = AbiVersion();
                if (abi != NativeMethods.HP_ABI_VERSION)
                    throw new HolePunchException(HolePunchError.LibraryMismatch,
                        "libholepunch has version " + abi + " of its binary interface, this assembly needs version "
                        + NativeMethods.HP_ABI_VERSION + "; install a libholepunch that matches it");
                isChecked = true;
            }
        }

        private static uint AbiVersion()
        {
            try
            {
                return NativeMethods.hp_abi_version();
            }
            catch (Exception error) when (error is DllNotFoundException || error is EntryPointNotFoundException
                || error is BadImageFormatException)
            {
                throw new HolePunchException(HolePunchError.LibraryNotFound,
                    "libholepunch cannot be loaded; install it (make install), put it beside the program, or name its "
                    + "directory in LD_LIBRARY_PATH: " + error.Message, 0, null, error);
            }
        }
    }
}
