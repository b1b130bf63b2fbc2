using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>Sockets that are taken from connections from addresses.</summary>
    internal static class HoleStreamTests
    {
        // A stream that was taken, and the other side.
        private static void WithStream(Action<HoleStream, AddressConnection> test)
        {
            using (AddressConnection taker = AddressPair.Open(Transport.Tcp, AddressPair.Taking()))
            using (AddressConnection other = AddressPair.Open(Transport.Tcp))
            {
                Task.WaitAll(taker.ConnectAsync(other.LocalEndPoints), other.ConnectAsync(taker.LocalEndPoints));
                // What came before is in it, too.
                other.Send("early".Bytes());
                Thread.Sleep(50);
                using (HoleStream stream = taker.TakeStream())
                {
                    Check.Fails(HolePunchError.NotConnected, () => taker.TakeStream());
                    Check.Fails(HolePunchError.NotFound, () => taker.ExportKey("x"));
                    Check.Equal(other.RemoteEndPoint, stream.LocalEndPoint, "endpoint");
                    Check.Equal(other.LocalEndPoint, stream.RemoteEndPoint, "endpoint");
                    // It outlives the connection.
                    taker.Dispose();
                    Check.True("early".Bytes().SequenceEqual(Read(stream, 5)), "what came early");
                    test(stream, other);
                }
            }
        }

        private static byte[] Read(Stream stream, int count)
        {
            var buffer = new byte[count];
            for (int at = 0; at < count;)
            {
                int length = stream.Read(buffer, at, count - at);
                Check.True(length > 0, "there is more after " + at + " bytes");
                at += length;
            }
            return buffer;
        }

        [Test]
        private static void A_taken_stream_reads_and_writes_until_the_other_side_closes()
        {
            WithStream((stream, other) =>
            {
                Check.True(stream.CanRead && stream.CanWrite && !stream.CanSeek, "what it can");
                stream.Write("raw".Bytes(), 0, 3);
                stream.Flush();
                Check.True("raw".Bytes().SequenceEqual(AddressPair.Receive(other, 3)), "the same");
                var buffer = new byte[10];
                Task<int> reading = stream.ReadAsync(buffer, 1, 9);
                Check.True(!reading.Wait(50), "it waits");
                other.Send("late".Bytes());
                Check.Equal(4, reading.Result, "length");
                Check.True("late".Bytes().SequenceEqual(buffer.Skip(1).Take(4)), "the same");
                using (var writer = new StreamWriter(stream))
                {
                    writer.WriteLine("a line");
                    writer.Flush();
                    Check.Equal(7, AddressPair.Receive(other, 7).Length, "length");
                    other.Dispose();
                    Check.Equal(0, stream.Read(buffer, 0, 10), "its end");
                    Check.Equal(0, stream.ReadAsync(buffer, 0, 10).Result, "its end");
                }
                Check.True(!stream.CanRead && !stream.CanWrite, "it is closed");
            });
        }

        [Test(Limit = 60)]
        private static void Much_is_written_as_fast_as_it_is_read()
        {
            byte[] much = AddressPair.Noise(16 << 20);
            WithStream((stream, other) =>
            {
                Task writing = stream.WriteAsync(much, 0, much.Length);
                Check.True(!writing.Wait(300), "it waits");
                Check.True(much.SequenceEqual(AddressPair.Receive(other, much.Length)), "the same");
                writing.Wait();
                writing = Task.Run(() => stream.Write(much, 0, much.Length));
                Check.True(!writing.Wait(300), "it waits");
                Check.True(much.SequenceEqual(AddressPair.Receive(other, much.Length)), "the same");
                Check.True(writing.Wait(Sessions.Patience), "all is written");
                Task sending = other.SendAsync(much);
                Check.True(much.SequenceEqual(Read(stream, much.Length)), "the same");
                sending.Wait();
            });
        }

        [Test]
        private static void Waiting_for_a_stream_can_be_cancelled_and_loses_nothing()
        {
            WithStream((stream, other) =>
            {
                var buffer = new byte[4];
                using (var source = new CancellationTokenSource())
                {
                    Task reading = stream.ReadAsync(buffer, 0, 4, source.Token);
                    Task writing = stream.WriteAsync(new byte[32 << 20], 0, 32 << 20, source.Token);
                    Check.True(!Task.WaitAll(new[] { reading, writing }, 100), "they wait");
                    source.Cancel();
                    Check.Throws<TaskCanceledException>(reading);
                    Check.Throws<TaskCanceledException>(writing);
                    Check.Throws<OperationCanceledException>(stream.ReadAsync(buffer, 0, 4, source.Token));
                    Check.Throws<OperationCanceledException>(stream.WriteAsync(buffer, 0, 4, source.Token));
                }
                other.Send("more".Bytes());
                Check.True("more".Bytes().SequenceEqual(Read(stream, 4)), "the same");
            });
        }

        [Test]
        private static void Closing_a_stream_ends_all_that_waits_and_is_heard()
        {
            WithStream((stream, other) =>
            {
                var buffer = new byte[4];
                Task[] waiting = { stream.ReadAsync(buffer, 0, 4), Task.Run(() => stream.Read(buffer, 0, 4)) };
                Check.True(!Task.WaitAll(waiting, 100), "they wait");
                stream.Dispose();
                foreach (Task each in waiting)
                    Check.Throws<ObjectDisposedException>(each);
                stream.Dispose();
                Check.Throws<ObjectDisposedException>(() => stream.Read(buffer, 0, 4));
                Check.Throws<ObjectDisposedException>(() => stream.Write(buffer, 0, 4));
                Check.Throws<ObjectDisposedException>(() => stream.TakeDescriptor());
                Check.True(other.Receive() == null, "it is over");
                Check.Equal(ConnectionEnd.ClosedByPeer, other.End.Reason, "reason");
            });
        }

        [Test]
        private static void A_broken_stream_says_so()
        {
            using (var client = new TcpClient())
            using (AddressConnection taker = AddressConnection.CreateUnauthenticated(Transport.Tcp, AddressPair.Taking()))
            {
                Task connecting = taker.ConnectAsync(new IPEndPoint[0]);
                client.Connect(taker.LocalEndPoints[0]);
                connecting.Wait();
                using (HoleStream stream = taker.TakeStream())
                {
                    Task<int> reading = stream.ReadAsync(new byte[1], 0, 1);
                    Sockets.Break(client.Client);
                    var error = (SocketException)Check.Throws<IOException>(reading).InnerException;
                    Check.Equal(SocketError.ConnectionReset, error.SocketErrorCode, "error");
                    error = (SocketException)Check.Throws<IOException>(() => stream.Write(new byte[1], 0, 1)).InnerException;
                    Check.Equal(SocketError.Shutdown, error.SocketErrorCode, "error");
                }
            }
        }

        [Test]
        private static void A_stream_gives_its_descriptor_and_no_more_than_a_stream_has()
        {
            WithStream((stream, other) =>
            {
                Check.Throws<NotSupportedException>(() => stream.Seek(0, SeekOrigin.Begin));
                Check.Throws<NotSupportedException>(() => stream.SetLength(0));
                Check.Throws<NotSupportedException>(() => stream.Length.ToString());
                Check.Throws<NotSupportedException>(() => stream.Position.ToString());
                Check.Throws<NotSupportedException>(() => stream.Position = 0);
                Check.Throws<ArgumentNullException>(() => stream.Read(null, 0, 0));
                Check.Throws<ArgumentOutOfRangeException>(() => stream.Write(new byte[1], 0, 2));
                int descriptor = (int)stream.TakeDescriptor();
                Check.True(!stream.CanRead && Files.Descriptors().Contains(descriptor), "it is ours");
                stream.Dispose();
                Check.True(Files.Descriptors().Contains(descriptor), "it stays open");
                Files.Close(descriptor);
                Check.True(other.Receive() == null, "it is over");
            });
        }

        [Test]
        private static void A_taken_socket_talks_to_the_peer_and_outlives_the_connection()
        {
            using (AddressConnection taker = AddressPair.Open(Transport.Udp, AddressPair.Taking()))
            using (AddressConnection other = AddressPair.Open(Transport.Udp))
            {
                Task.WaitAll(taker.ConnectAsync(other.LocalEndPoints), other.ConnectAsync(taker.LocalEndPoints));
                byte[] key = taker.ExportKey("x");
                other.Send("early".Bytes());
                using (HoleSocket socket = taker.TakeSocket())
                {
                    Check.Fails(HolePunchError.NotConnected, () => taker.TakeSocket());
                    taker.Dispose();
                    Check.Equal(other.RemoteEndPoint, socket.LocalEndPoint, "endpoint");
                    socket.ReceiveTimeout = Sessions.Patience;
                    Datagram datagram = socket.Receive();
                    Check.Equal(other.LocalEndPoint, datagram.From, "endpoint");
                    Check.True("early".Bytes().SequenceEqual(datagram.Data), "the same");
                    socket.Send("raw".Bytes(), datagram.From);
                    Check.True("raw".Bytes().SequenceEqual(other.Receive()), "the same");
                    Check.True(key.SequenceEqual(other.ExportKey("x")), "the same key");
                }
            }
        }

        [Test]
        private static void What_a_peer_sent_before_it_was_connected_to_comes_out_of_the_taken_socket()
        {
            using (AddressConnection taker = AddressConnection.CreateUnauthenticated(Transport.Udp, AddressPair.Taking()))
            using (var plain = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0)))
            {
                byte[] first = "first".Bytes();
                Task connecting = taker.ConnectAsync(new[] { (IPEndPoint)plain.Client.LocalEndPoint });
                plain.Send(first, first.Length, taker.LocalEndPoints[0]);
                connecting.Wait();
                using (HoleSocket socket = taker.TakeSocket())
                {
                    socket.ReceiveTimeout = Sessions.Patience;
                    Check.True(first.SequenceEqual(socket.Receive().Data), "the same");
                }
            }
        }

        [Test]
        private static void Only_what_fits_can_be_taken()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                using (var pair = new AddressPair(transport))
                {
                    Check.Throws<InvalidOperationException>(() => pair.A.TakeSocket());
                    Check.Throws<InvalidOperationException>(() => pair.A.TakeStream());
                    pair.Talk();
                }
                using (var pair = new AddressPair(transport, true, AddressPair.Taking))
                {
                    Check.Throws<InvalidOperationException>(() => pair.A.Receive());
                    Check.Throws<InvalidOperationException>(() => pair.A.Start());
                    if (transport == Transport.Tcp)
                        Check.Throws<InvalidOperationException>(() => pair.A.TakeSocket());
                    else
                        Check.Throws<InvalidOperationException>(() => pair.A.TakeStream());
                }
                using (AddressConnection connection = AddressPair.Open(transport, AddressPair.Taking()))
                {
                    if (transport == Transport.Tcp)
                        Check.Fails(HolePunchError.NotConnected, () => connection.TakeStream());
                    else
                        Check.Fails(HolePunchError.NotConnected, () => connection.TakeSocket());
                }
            }
        }
    }
}
