using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class HolePunchClient
    {
        private struct EarlyDatagram
        {
            internal uint SocketIndex;
            internal Datagram Datagram;
        }

        /// <summary>
        /// Moves the socket that a peer's hole over UDP belongs to from the client to the caller, for good: nothing of the
        /// library touches it any more. Peers may share a socket; for each of them the same one is returned.
        /// </summary>
        /// <param name="peer">A peer of the last call.</param>
        /// <exception cref="HolePunchException">
        /// There is no such socket (<see cref="HolePunchError.NotFound"/>), as when the peer is of an earlier call.
        /// </exception>
        /// <exception cref="InvalidOperationException">The hole is over TCP: see <see cref="TakeStream"/>.</exception>
        public HoleSocket TakeSocket(Peer peer)
        {
            if (peer == null)
                throw new ArgumentNullException(nameof(peer));
            Enter(CancellationToken.None);
            try
            {
                CheckTakeable(peer, Transport.Udp, nameof(TakeStream));
                if (taken.TryGetValue(peer.SocketIndex, out HoleSocket socket))
                    return socket;
                SafeHandle descriptor = given == null ? Take(peer.SocketIndex) : DuplicateGiven(peer.SocketIndex);
                ReadNativeEarly();
                var first = new Queue<Datagram>(early.Where(each => each.SocketIndex == peer.SocketIndex)
                    .Select(each => each.Datagram));
                early.RemoveAll(each => each.SocketIndex == peer.SocketIndex);
                var peers = found.Where(each => each.SocketIndex == peer.SocketIndex).Select(each => each.EndPoint);
                socket = new HoleSocket(descriptor, given, peers, first);
                taken.Add(peer.SocketIndex, socket);
                return socket;
            }
            finally
            {
                turn.Release();
            }
        }

        /// <summary>
        /// Moves the connection that a peer's hole over TCP is from the client to the caller, for good: nothing of the library
        /// touches it any more. What the peer has sent may already wait in it.
        /// </summary>
        /// <param name="peer">A peer of the last call.</param>
        /// <exception cref="HolePunchException">
        /// There is no such connection (<see cref="HolePunchError.NotFound"/>), as when it was taken, or the peer is not
        /// connected or of an earlier call.
        /// </exception>
        /// <exception cref="InvalidOperationException">The hole is over UDP: see <see cref="TakeSocket"/>.</exception>
        public HoleStream TakeStream(Peer peer)
        {
            if (peer == null)
                throw new ArgumentNullException(nameof(peer));
            Enter(CancellationToken.None);
            try
            {
                CheckTakeable(peer, Transport.Tcp, nameof(TakeSocket));
                // Only connected peers have a connection, and so an index, of their own.
                if (!peer.Connected)
                    throw Interop.Failure(hp_status.HP_STATUS_NOT_FOUND);
                return new HoleStream(Take(peer.SocketIndex), peer.EndPoint);
            }
            finally
            {
                turn.Release();
            }
        }

        private void CheckTakeable(Peer peer, Transport wanted, string other)
        {
            if (peer.Call != calls)
                throw Interop.Failure(hp_status.HP_STATUS_NOT_FOUND);
            if (peer.Transport != wanted)
                throw new InvalidOperationException("For what is not over " + wanted + " there is " + other + ".");
        }

        private unsafe SafeHandle Take(uint index)
        {
            IntPtr descriptor;
            Interop.Check(NativeMethods.hp_socket_take(handle, index, &descriptor));
            return Unix.Own(descriptor);
        }

        // The library keeps its own duplicate for calls to come.
        private unsafe SafeHandle DuplicateGiven(uint index)
        {
            IntPtr descriptor;
            Interop.Check(NativeMethods.hp_socket_fd(handle, index, &descriptor));
            return Unix.Duplicate(given);
        }

        /// <summary>
        /// What peers' programs sent before the last call had returned: while it was still connecting to others, or waiting
        /// for a peer's last word. They came before those that are in the sockets. Each is returned once; those of a socket
        /// that was taken come out of <see cref="HoleSocket.Receive()"/> instead.
        /// </summary>
        public IReadOnlyList<Datagram> ReadEarlyDatagrams()
        {
            Enter(CancellationToken.None);
            try
            {
                ReadNativeEarly();
                Datagram[] all = early.Select(each => each.Datagram).ToArray();
                early.Clear();
                return all;
            }
            finally
            {
                turn.Release();
            }
        }

        private unsafe void ReadNativeEarly()
        {
            UIntPtr length;
            while (NativeMethods.hp_early_receive(handle, null, UIntPtr.Zero, &length, null, null)
                == hp_status.HP_STATUS_BUFFER_TOO_SMALL)
            {
                var data = new byte[(int)length];
                hp_addr source;
                uint index;
                fixed (byte* start = data)
                    Interop.Check(NativeMethods.hp_early_receive(handle, start, length, &length, &source, &index));
                var datagram = new Datagram(Interop.EndPoint(&source), data);
                early.Add(new EarlyDatagram { SocketIndex = index, Datagram = datagram });
            }
        }
    }
}
