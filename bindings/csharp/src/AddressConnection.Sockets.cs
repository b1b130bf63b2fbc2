using System;
using System.Collections.Generic;
using System.Net;
using System.Runtime.InteropServices;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class AddressConnection
    {
        /// <summary>
        /// Moves the socket of a connection over UDP to the caller, for good: nothing of the library touches it any more.
        /// <see cref="AddressConnectionOptions.TakesSocket"/> must have been set.
        /// </summary>
        /// <exception cref="HolePunchException">
        /// There is no connection, or not any more (<see cref="HolePunchError.NotConnected"/>).
        /// </exception>
        /// <exception cref="InvalidOperationException">It is over TCP, or the socket was not to be taken.</exception>
        public HoleSocket TakeSocket()
        {
            SafeHandle socket = Take(Transport.Udp, nameof(TakeStream));
            return new HoleSocket(socket, null, new[] { RemoteEndPoint }, ReadEarly());
        }

        /// <summary>
        /// Moves the socket of a connection over TCP to the caller, for good: nothing of the library touches it any more.
        /// <see cref="AddressConnectionOptions.TakesSocket"/> must have been set.
        /// </summary>
        /// <exception cref="HolePunchException">
        /// There is no connection, or not any more (<see cref="HolePunchError.NotConnected"/>).
        /// </exception>
        /// <exception cref="InvalidOperationException">It is over UDP, or the socket was not to be taken.</exception>
        public HoleStream TakeStream()
        {
            SafeHandle socket = Take(Transport.Tcp, nameof(TakeSocket));
            return new HoleStream(socket, RemoteEndPoint);
        }

        private unsafe SafeHandle Take(Transport wanted, string other)
        {
            ThrowIfDisposed();
            if (transport != wanted)
                throw new InvalidOperationException("For what is not over " + wanted + " there is " + other + ".");
            if (!takesSocket)
                throw new InvalidOperationException("What comes is read already: see AddressConnectionOptions.TakesSocket.");
            hp_error detail = Interop.Detail();
            IntPtr socket;
            hp_status status = NativeMethods.hp_conn_take(handle, &socket, &detail);
            if (status != hp_status.HP_STATUS_OK)
                throw Interop.Failure(status, &detail);
            return Unix.Own(socket);
        }

        // Datagrams of the peer's that came before it was connected.
        private unsafe Queue<Datagram> ReadEarly()
        {
            var early = new Queue<Datagram>();
            var buffer = new byte[MaxDatagramLength];
            UIntPtr length;
            fixed (byte* start = buffer)
            {
                while (NativeMethods.hp_conn_read(handle, start, (UIntPtr)buffer.Length, 0, &length, null)
                    == hp_status.HP_STATUS_OK)
                    early.Enqueue(new Datagram(RemoteEndPoint, Interop.Bytes(start, (int)length)));
            }
            return early;
        }
    }
}
