using System;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    internal static class ConnectionTests
    {
        private static readonly byte[] hello = Encoding.ASCII.GetBytes("hello");

        [Test]
        private static void Two_connect_and_talk()
        {
            using (var service = new Service())
            {
                string id = SessionId.Generate();
                Task<HoleConnection> other = HoleConnection.ConnectAsync(service.Address, id, Service.Quick());
                using (HoleConnection a = HoleConnection.Connect(service.Address, id, Service.Quick()), b = other.Result)
                {
                    Check.Equal(a.RemoteEndPoint.Port, b.LocalEndPoint.Port);
                    Check.True(a.Peer.Authenticated, "authenticated");
                    a.ReceiveTimeout = b.ReceiveTimeout = TimeSpan.FromSeconds(10);
                    Check.Equal(TimeSpan.FromSeconds(10), a.ReceiveTimeout);
                    a.Send(hello);
                    Check.True(hello.SequenceEqual(b.Receive()), "as it was sent");
                    Task<byte[]> answer = a.ReceiveAsync();
                    b.Send(hello, 1, 3);
                    Check.Equal("ell", Encoding.ASCII.GetString(answer.Result));
                    b.SendAsync(hello).Wait();
                    b.SendAsync(hello, 0, 1).Wait();
                    Check.Equal(5, a.Receive().Length);
                    Check.Equal(1, a.Receive().Length);
                    Check.True(a.ExportKey("x").SequenceEqual(b.ExportKey(new[] { (byte)'x' })), "the same key");
                }
            }
        }

        [Test]
        private static void Others_are_not_heard()
        {
            using (var service = new Service())
            {
                byte[] id = Service.NewId();
                Task<HoleConnection> other = HoleConnection.ConnectAsync(service.Address, id, Service.Quick());
                using (HoleConnection a = HoleConnection.Connect(service.Address, id, Service.Quick()), b = other.Result)
                using (var stranger = Sockets.Bound())
                {
                    stranger.SendTo(Encoding.ASCII.GetBytes("spam"), b.RemoteEndPoint);
                    b.Send(hello);
                    Check.True(hello.SequenceEqual(a.Receive()), "the peer's words come first");
                    a.ReceiveTimeout = TimeSpan.FromMilliseconds(50);
                    Check.Throws<TimeoutException>(() => a.Receive());
                }
            }
        }

        [Test]
        private static void It_can_be_cancelled_and_times_out()
        {
            using (var service = new Service())
            using (var source = new CancellationTokenSource(50))
            {
                Check.Throws<OperationCanceledException>(
                    HoleConnection.ConnectAsync(service.Address, Service.NewId(), null, source.Token));
                var options = new HolePunchClientOptions { Timeout = TimeSpan.FromMilliseconds(50) };
                Check.True(Check.Throws<HolePunchException>(
                    () => HoleConnection.Connect(service.Address, "nobody", options)).IsTimeout, "time is up");
                Check.Throws<ArgumentNullException>(() => HoleConnection.Connect(service.Address, (string)null));
            }
        }
    }
}
