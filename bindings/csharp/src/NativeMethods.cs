#if NET5_0_OR_GREATER
using System;
using System.Reflection;
using System.Runtime.InteropServices;
#endif

namespace HolePunch.Native
{
    // What the generator does not make.
    internal static unsafe partial class NativeMethods
    {
        internal const uint HP_RTT_UNKNOWN = uint.MaxValue;

#if NET5_0_OR_GREATER
        static NativeMethods()
        {
            NativeLibrary.SetDllImportResolver(typeof(NativeMethods).Assembly, Resolve);
        }

        // A library that was installed without its development files has its version in its name only.
        private static IntPtr Resolve(string name, Assembly assembly, DllImportSearchPath? path)
        {
            if (name != __DllName)
                return IntPtr.Zero;
            if (NativeLibrary.TryLoad(name, assembly, path, out IntPtr library))
                return library;
            string versioned = OperatingSystem.IsMacOS()
                ? "libholepunch." + HP_ABI_VERSION + ".dylib"
                : "libholepunch.so." + HP_ABI_VERSION;
            return NativeLibrary.TryLoad(versioned, assembly, path, out library) ? library : IntPtr.Zero;
        }
#endif
    }
}
