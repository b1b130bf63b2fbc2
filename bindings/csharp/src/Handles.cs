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

    /// <summary>Owns an hp_session.</summary>
    internal sealed class SessionHandle : SafeHandle
    {
        internal SessionHandle(IntPtr session) : base(IntPtr.Zero, true)
        {
            SetHandle(session);
        }

        public override bool IsInvalid => handle == IntPtr.Zero;

        protected override bool ReleaseHandle()
        {
            NativeMethods.hp_session_free(handle);
            return true;
        }
    }

    /// <summary>Owns an hp_conn.</summary>
    internal sealed class ConnectionHandle : SafeHandle
    {
        internal ConnectionHandle(IntPtr connection) : base(IntPtr.Zero, true)
        {
            SetHandle(connection);
        }

        public override bool IsInvalid => handle == IntPtr.Zero;

        protected override bool ReleaseHandle()
        {
            NativeMethods.hp_conn_free(handle);
            return true;
        }
    }

    /// <summary>The descriptor that is readable while an object has events, which is the object's to close.</summary>
    internal sealed class EventDescriptor : SafeHandle
    {
        internal EventDescriptor(IntPtr descriptor) : base((IntPtr)(-1), false)
        {
            SetHandle(descriptor);
        }

        public override bool IsInvalid => handle == (IntPtr)(-1);

        protected override bool ReleaseHandle()
        {
            return true;
        }
    }
}
