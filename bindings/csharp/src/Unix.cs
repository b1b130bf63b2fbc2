using System;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace HolePunch.Native
{
    /// <summary>
    /// The system calls that a taken socket needs, as .NET Standard has no Socket around a descriptor.
    /// </summary>
    internal static unsafe class Unix
    {
        internal const short POLLIN = 1;
        internal const short POLLOUT = 4;

        private const string C = "libc";
        private const int EINTR = 4;
        private const int F_DUPFD_CLOEXEC = 1030;
        private const int O_CLOEXEC = 0x80000;
        // Enough for a sockaddr_storage anywhere.
        private const int AddressCapacity = 128;

        private static readonly bool isLinux = RuntimeInformation.IsOSPlatform(OSPlatform.Linux);
        private static readonly int MSG_DONTWAIT = isLinux ? 0x40 : 0x80;
        // Elsewhere it is the runtime that has the signal ignored.
        private static readonly int MSG_NOSIGNAL = isLinux ? 0x4000 : 0;
        private static readonly int EAGAIN = isLinux ? 11 : 35;

        [StructLayout(LayoutKind.Sequential)]
        internal struct PollDescriptor
        {
            internal int Descriptor;
            internal short Events;
            internal short Returned;
        }

        [DllImport(C, SetLastError = true)]
        private static extern IntPtr sendto(SafeHandle socket, byte* data, UIntPtr length, int flags, void* to,
            uint toLength);

        [DllImport(C, SetLastError = true)]
        private static extern IntPtr recvfrom(SafeHandle socket, byte* data, UIntPtr length, int flags, void* from,
            uint* fromLength);

        [DllImport(C, SetLastError = true)]
        private static extern int getsockname(SafeHandle socket, void* address, uint* length);

        [DllImport(C, SetLastError = true)]
        private static extern int poll(PollDescriptor* descriptors, UIntPtr count, int timeout);

        [DllImport(C, SetLastError = true)]
        private static extern int pipe2(int* ends, int flags);

        [DllImport(C, SetLastError = true)]
        private static extern int pipe(int* ends);

        [DllImport(C, SetLastError = true)]
        private static extern IntPtr read(int descriptor, byte* data, UIntPtr length);

        [DllImport(C, SetLastError = true)]
        private static extern IntPtr write(int descriptor, byte* data, UIntPtr length);

        [DllImport(C, SetLastError = true)]
        private static extern int fcntl(IntPtr descriptor, int command, IntPtr argument);

        [DllImport(C, SetLastError = true)]
        private static extern int dup(IntPtr descriptor);

        [DllImport(C)]
        internal static extern int close(IntPtr descriptor);

        /// <summary>Has a descriptor closed when nobody needs it any more.</summary>
        internal static SafeHandle Own(IntPtr descriptor)
        {
#if NET5_0_OR_GREATER
            return new SafeSocketHandle(descriptor, true);
#else
            return new DescriptorHandle(descriptor);
#endif
        }

        /// <summary>A duplicate of a Socket's descriptor.</summary>
        internal static SafeHandle Duplicate(Socket socket)
        {
            if (RuntimeInformation.IsOSPlatform(OSPlatform.Windows))
                throw new PlatformNotSupportedException("A socket of one's own cannot be given on Windows.");
            // Throws if it is closed: its descriptor's number may be somebody else's then.
            GC.KeepAlive(socket.LocalEndPoint);
            int copy = isLinux ? fcntl(socket.Handle, F_DUPFD_CLOEXEC, IntPtr.Zero) : dup(socket.Handle);
            if (copy < 0)
                throw Failure();
            GC.KeepAlive(socket);
            return Own((IntPtr)copy);
        }

        internal static IPEndPoint LocalEndPoint(SafeHandle socket)
        {
            byte* address = stackalloc byte[AddressCapacity];
            uint length = AddressCapacity;
            if (getsockname(socket, address, &length) < 0)
                throw Failure();
            hp_addr local;
            Interop.Check(NativeMethods.hp_addr_from_sockaddr(address, length, &local));
            return Interop.EndPoint(&local);
        }

        /// <summary>Sends one datagram; false if there is no room for it now.</summary>
        internal static bool TrySend(SafeHandle socket, byte[] buffer, int offset, int count, IPEndPoint to)
        {
            hp_addr target = Interop.Address(to);
            byte* address = stackalloc byte[AddressCapacity];
            uint length;
            Interop.Check(NativeMethods.hp_addr_to_sockaddr(&target, address, AddressCapacity, &length));
            fixed (byte* start = buffer)
            {
                while ((long)sendto(socket, start + offset, (UIntPtr)count, MSG_DONTWAIT, address, length) < 0)
                {
                    int error = Marshal.GetLastWin32Error();
                    if (error == EAGAIN)
                        return false;
                    if (error != EINTR)
                        throw Failure();
                }
            }
            return true;
        }

        /// <summary>
        /// Receives one datagram that is not the library's own; -1 if there is none now. What does not fit is lost.
        /// </summary>
        internal static int TryReceive(SafeHandle socket, byte[] buffer, out IPEndPoint from)
        {
            byte* address = stackalloc byte[AddressCapacity];
            from = null;
            fixed (byte* start = buffer)
            {
                for (;;)
                {
                    uint length = AddressCapacity;
                    long received = (long)recvfrom(socket, start, (UIntPtr)buffer.Length, MSG_DONTWAIT, address, &length);
                    if (received < 0)
                    {
                        int error = Marshal.GetLastWin32Error();
                        if (error == EAGAIN)
                            return -1;
                        if (error != EINTR)
                            throw Failure();
                        continue;
                    }
                    hp_addr source;
                    if (ControlPacket.Is(start, (int)received)
                        || NativeMethods.hp_addr_from_sockaddr(address, length, &source) != hp_status.HP_STATUS_OK)
                        continue;
                    from = Interop.EndPoint(&source);
                    return (int)received;
                }
            }
        }

        /// <summary>Sends what there is room for on a stream; -1 if there is none now.</summary>
        internal static int TrySend(SafeHandle stream, byte[] buffer, int offset, int count)
        {
            fixed (byte* start = buffer)
                return Transferred(sendto(stream, start + offset, (UIntPtr)count, MSG_DONTWAIT | MSG_NOSIGNAL, null, 0));
        }

        /// <summary>Receives what has come on a stream, 0 at its end; -1 if nothing has come now.</summary>
        internal static int TryReceive(SafeHandle stream, byte[] buffer, int offset, int count)
        {
            fixed (byte* start = buffer)
                return Transferred(recvfrom(stream, start + offset, (UIntPtr)count, MSG_DONTWAIT, null, null));
        }

        // -1, too, where a signal has interrupted it: whoever waits for the descriptor then tries again at once.
        private static int Transferred(IntPtr result)
        {
            if ((long)result >= 0)
                return (int)result;
            int error = Marshal.GetLastWin32Error();
            if (error == EAGAIN || error == EINTR)
                return -1;
            throw Failure();
        }

        /// <summary>Waits until one of the descriptors is ready; a signal may end it sooner.</summary>
        internal static void Poll(PollDescriptor[] descriptors, int timeout)
        {
            fixed (PollDescriptor* first = descriptors)
            {
                if (poll(first, (UIntPtr)descriptors.Length, timeout) >= 0)
                    return;
            }
            for (int i = 0; i < descriptors.Length; i++)
                descriptors[i].Returned = 0;
        }

        /// <summary>A pipe's reading and writing end.</summary>
        internal static void Pipe(out int reading, out int writing)
        {
            int* ends = stackalloc int[2];
            if ((isLinux ? pipe2(ends, O_CLOEXEC) : pipe(ends)) < 0)
                throw Failure();
            reading = ends[0];
            writing = ends[1];
        }

        internal static void WriteByte(int descriptor)
        {
            byte one = 1;
            write(descriptor, &one, (UIntPtr)1);
        }

        internal static void ReadByte(int descriptor)
        {
            byte one;
            read(descriptor, &one, (UIntPtr)1);
        }

        private static SocketException Failure()
        {
            return new SocketException((int)Error(Marshal.GetLastWin32Error()));
        }

        // SocketException speaks of errors in Windows' numbers.
        private static SocketError Error(int errno)
        {
            switch (errno)
            {
                case 1: // EPERM, as a firewall answers
                case 13: return SocketError.AccessDenied;
                case 22: return SocketError.InvalidArgument;
                case 24: return SocketError.TooManyOpenSockets;
                case 32: return SocketError.Shutdown;
            }
            switch (isLinux ? errno : 0)
            {
                case 90: return SocketError.MessageSize;
                case 97: return SocketError.AddressFamilyNotSupported;
                case 99: return SocketError.AddressNotAvailable;
                case 100: return SocketError.NetworkDown;
                case 101: return SocketError.NetworkUnreachable;
                case 104: return SocketError.ConnectionReset;
                case 105: return SocketError.NoBufferSpaceAvailable;
                case 110: return SocketError.TimedOut;
                case 111: return SocketError.ConnectionRefused;
                case 113: return SocketError.HostUnreachable;
            }
            return SocketError.SocketError;
        }
    }

#if !NET5_0_OR_GREATER
    /// <summary>Owns a descriptor.</summary>
    internal sealed class DescriptorHandle : SafeHandle
    {
        internal DescriptorHandle(IntPtr descriptor) : base((IntPtr)(-1), true)
        {
            SetHandle(descriptor);
        }

        public override bool IsInvalid => handle == (IntPtr)(-1);

        protected override bool ReleaseHandle()
        {
            return Unix.close(handle) == 0;
        }
    }
#endif
}
