using System;
using System.Runtime.InteropServices;

namespace HolePunch.Native
{
    /// <summary>Owns an hp_client.</summary>
    internal sealed class ClientHandle : SafeHandle
    {
        internal ClientHandle(IntPtr client) : base(IntPtr.Zero, true)
        {
            SetHandle(client);
        }

        public override bool IsInvalid => handle == IntPtr.Zero;

        protected override bool ReleaseHandle()
        {
            NativeMethods.hp_client_free(handle);
            return true;
        }
    }

    /// <summary>Owns an hp_server.</summary>
    internal sealed class ServerHandle : SafeHandle
    {
        internal ServerHandle(IntPtr server) : base(IntPtr.Zero, true)
        {
            SetHandle(server);
        }

        public override bool IsInvalid => handle == IntPtr.Zero;

        protected override bool ReleaseHandle()
        {
            NativeMethods.hp_server_free(handle);
            return true;
        }
    }
}
