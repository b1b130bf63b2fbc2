using System;
using System.Diagnostics;
using System.Linq;
using System.Net;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    internal static class ServerTests
    {
        private static HolePunchServer Fresh()
        {
            return new HolePunchServer(new HolePunchServerOptions { Address = "127.0.0.1:0" });
        }

        [Test]
        private static void It_tells_its_address_clients_and_counters()
        {
            using (var service = new Service())
            {
                Check.Equal(IPAddress.Loopback, service.Server.LocalEndPoint.Address);
                Check.Equal(0, service.Server.Endpoints.Count);
                var clients = Enumerable.Range(0, 100).Select(_ => service.Client()).ToArray();
                var calls = clients.Select(client => client.ConnectAsync(Service.NewId(), 1)).ToArray();
                Check.Eventually("all are registered", () => service.Server.Endpoints.Count == 100);
                Check.Equal(100, service.Server.Endpoints.Distinct().Count(), "addresses");
                Check.True(service.Server.Endpoints.All(each => each.Address.Equals(IPAddress.Loopback)), "on loopback");
                ServerCounters counters = service.Server.Counters;
                Check.Equal(100ul, counters.Endpoints, "endpoints");
                Check.Equal(100ul, counters.Sessions, "sessions");
                Check.Equal(100ul, counters.NativeJoined, "joined");
                Check.True(counters.Received >= 200 && counters.Sent >= 200, "datagrams");
                foreach (HolePunchClient client in clients)
                    client.Dispose();
                Check.Eventually("all have ended", () => calls.All(call => call.IsFaulted));
                Check.Eventually("all have left", () => service.Server.Counters.Left == 100);
            }
        }

        [Test]
        private static void It_serves_over_IPv6()
        {
            var options = new HolePunchServerOptions { Address = "[::1]:0", Workers = 1, MaxEndpoints = 1000 };
            using (var server = new HolePunchServer(options))
            {
                Task serving = server.RunAsync();
                using (var a = new HolePunchClient(server.LocalEndPoint.ToString()))
                using (var b = new HolePunchClient(server.LocalEndPoint.ToString()))
                using (var pair = new Pair(a, b, Service.NewId()))
                {
                    Check.Equal(IPAddress.IPv6Loopback, pair.ToB.EndPoint.Address);
                    pair.Talk();
                }
                Check.True(!serving.IsCompleted, "it serves on");
            }
        }

        [Test]
        private static void A_token_ends_it()
        {
            using (HolePunchServer server = Fresh())
            using (var source = new CancellationTokenSource())
            {
                Task serving = server.RunAsync(source.Token);
                Check.True(!serving.Wait(20), "it serves");
                Stopwatch took = Stopwatch.StartNew();
                source.Cancel();
                Check.Equal(source.Token, Check.Throws<OperationCanceledException>(serving).CancellationToken, "token");
                Check.True(took.ElapsedMilliseconds < 5000, took.Elapsed.ToString());
                Check.Throws<InvalidOperationException>(() => server.Run());
            }
            using (HolePunchServer server = Fresh())
                Check.Throws<OperationCanceledException>(() => server.Run(new CancellationToken(true)));
        }

        [Test]
        private static void Disposing_ends_it_and_frees_its_address()
        {
            HolePunchServer server = Fresh();
            Task serving = Task.Run(() => server.Run());
            Check.Throws<InvalidOperationException>(() =>
            {
                Check.Eventually("it serves", () => serving.Status == TaskStatus.Running);
                Thread.Sleep(20);
                server.Run();
            });
            server.Dispose();
            server.Dispose();
            Check.True(serving.Wait(5000), "it has ended without an exception");
            string address = server.LocalEndPoint.ToString();
            new HolePunchServer(new HolePunchServerOptions { Address = address }).Dispose();
            Check.Throws<ObjectDisposedException>(() => server.Run());
            Check.Throws<ObjectDisposedException>(server.RunAsync());
            Check.Throws<ObjectDisposedException>(() => server.Counters.ToString());
            Check.Throws<ObjectDisposedException>(() => server.Endpoints.ToString());
            Check.Throws<ObjectDisposedException>(() => server.SetPlainExpiry(TimeSpan.Zero));
            Check.Throws<ObjectDisposedException>(() => server.SetMaxPlainIdLength(1));
            Check.Throws<ObjectDisposedException>(() => server.SetLimits(new ServerLimits()));
        }

        [Test]
        private static void Its_limits_can_be_changed_as_it_serves()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client(Service.Quick(Dialect.Plain)))
            {
                client.Timeout = TimeSpan.FromMilliseconds(300);
                service.Server.SetMaxPlainIdLength(4);
                Check.Fails(HolePunchError.ServerSilent, () => client.Connect("12345", 1));
                Check.Fails(HolePunchError.TimedOutWaiting, () => client.Connect("1234", 1));
                Check.Equal(1, service.Server.Endpoints.Count);
                service.Server.SetPlainExpiry(TimeSpan.FromMilliseconds(1));
                Check.Eventually("it has expired", () => service.Server.Counters.Expired == 1);
                service.Server.SetPlainExpiry(Timeout.InfiniteTimeSpan);
                service.Server.SetMaxPlainIdLength(1024);
                service.Server.SetLimits(new ServerLimits { DatagramsPerSecond = 10 });
                Check.Fails(HolePunchError.TimedOutWaiting, () => client.Connect("12345", 1));
                // It asks ten times a second, twenty at once are heard.
                client.Timeout = TimeSpan.FromMilliseconds(50);
                Check.Eventually("too much has come", () =>
                {
                    try
                    {
                        client.Connect("12345", 1);
                    }
                    catch (HolePunchException)
                    {
                        // Nobody else is there.
                    }
                    return service.Server.Counters.RateLimited > 0;
                });
                var wrong = Check.Throws<ArgumentOutOfRangeException>(
                    () => service.Server.SetLimits(new ServerLimits { EndpointsPerSession = 1, DatagramsPerSecond = null }));
                Check.Equal("EndpointsPerSession", wrong.ParamName);
                Check.Throws<ArgumentNullException>(() => service.Server.SetLimits(null));
                ServerCounters counters = service.Server.Counters;
                Check.True(counters.Memory > 0 && !counters.Overloaded && counters.Shed == 0, "memory and load");
            }
        }

        [Test]
        private static void Wrong_options_and_taken_addresses_are_refused()
        {
            Refused("Workers", new HolePunchServerOptions { Workers = 65 });
            Refused("Workers", new HolePunchServerOptions { Workers = -1 });
            Refused("MaxEndpoints", new HolePunchServerOptions { MaxEndpoints = 1 });
            Refused("MaxEndpoints", new HolePunchServerOptions { MaxEndpoints = -1 });
            foreach (int endpoints in new[] { -1, 1, 258 })
                Refused("EndpointsPerSession", new ServerLimits { EndpointsPerSession = endpoints });
            foreach (int endpoints in new[] { -1, 1 })
                Refused("EndpointsPerPrefix", new ServerLimits { EndpointsPerPrefix = endpoints });
            foreach (int rate in new[] { -1, 0, 9 })
                Refused("DatagramsPerSecond", new ServerLimits { DatagramsPerSecond = rate });
            foreach (int times in new[] { -1, 0 })
                Refused("PlainAmplification", new ServerLimits { PlainAmplification = times });
            foreach (long bytes in new[] { -1, 0, (1 << 20) - 1 })
                Refused("Memory", new ServerLimits { Memory = bytes });
            Refused("length", new HolePunchServerOptions { MaxPlainIdLength = 1025 });
            Refused("Dialect", new HolePunchServerOptions { Dialect = (Dialect)(-1) });
            foreach (int ports in new[] { -1, 5 })
                Refused("AlternatePorts", new HolePunchServerOptions { AlternatePorts = ports });
            foreach (IPAddress address in new[] { IPAddress.Any, IPAddress.IPv6Any, IPAddress.Parse("224.0.0.1") })
                Refused("OtherAddress", new HolePunchServerOptions { OtherAddress = address });
            foreach (IPAddress address in new[] { IPAddress.Loopback, IPAddress.Loopback.MapToIPv6(), IPAddress.IPv6Loopback })
                Refused("OtherAddress", new HolePunchServerOptions { OtherAddress = address });
            Refused("OtherAddress",
                new HolePunchServerOptions { OtherAddress = IPAddress.Parse("127.0.0.2"), AlternatePorts = 0 });
            foreach (string address in new[] { "127.0.0.1:0", ":0" })
            {
                var foreign = new HolePunchServerOptions { Address = address, OtherAddress = IPAddress.Parse("192.0.2.1") };
                var error = Check.Fails(HolePunchError.Socket, () => new HolePunchServer(foreign));
                Check.Equal(99, error.NativeErrorCode, "errno");
                Check.Contains("192.0.2.1", error.Message);
            }
            foreach (int ports in new[] { -1, 0, 65 })
                Refused("Ports", new HolePunchServerOptions { Relay = new RelayOptions { Ports = ports } });
            foreach (int pairs in new[] { -1, 0 })
                Refused("MaxPairs", new HolePunchServerOptions { Relay = new RelayOptions { MaxPairs = pairs } });
            foreach (long rate in new[] { -1, 0, 2047 })
                Refused("BytesPerSecond", new HolePunchServerOptions { Relay = new RelayOptions { BytesPerSecond = rate } });
            foreach (TimeSpan time in new[] { TimeSpan.Zero, Timeout.InfiniteTimeSpan })
            {
                Refused("Idle", new HolePunchServerOptions { Relay = new RelayOptions { Idle = time } });
                Refused("Lifetime", new HolePunchServerOptions { Relay = new RelayOptions { Lifetime = time } });
            }
            foreach (int connections in new[] { -1, 0, 65537 })
            {
                Refused("MaxConnections", new HolePunchServerOptions { Tcp = new TcpOptions { MaxConnections = connections } });
                Refused("MaxConnectionsPerAddress",
                    new HolePunchServerOptions { Tcp = new TcpOptions { MaxConnectionsPerAddress = connections } });
            }
            foreach (string address in new[] { "nowhere:", "127.0.0.1:70000", "a\0b" })
            {
                var error = Check.Throws<ArgumentException>(
                    () => new HolePunchServer(new HolePunchServerOptions { Address = address }));
                Check.Equal("Address", error.ParamName);
            }
            using (HolePunchServer server = Fresh())
            {
                var options = new HolePunchServerOptions { Address = server.LocalEndPoint.ToString() };
                Check.Equal(98, Check.Fails(HolePunchError.Socket, () => new HolePunchServer(options)).NativeErrorCode, "errno");
            }
        }

        [Test]
        private static void Extreme_options_are_taken()
        {
            foreach (RelayOptions relay in new[]
            {
                new RelayOptions { Ports = 1, MaxPairs = 1, BytesPerSecond = 2048, Idle = TimeSpan.FromTicks(1) },
                new RelayOptions { Ports = 64, MaxPairs = int.MaxValue, BytesPerSecond = null, Lifetime = TimeSpan.MaxValue },
                new RelayOptions { BytesPerSecond = long.MaxValue, Idle = TimeSpan.MaxValue, Lifetime = TimeSpan.FromTicks(1) },
            })
            {
                using (var service = new Service(new HolePunchServerOptions
                {
                    AlternatePorts = relay.Ports == 1 ? 0 : 4,
                    OtherAddress = relay.Ports == 1 ? null : IPAddress.Parse("127.0.0.2").MapToIPv6(),
                    Limits = relay.Ports == 1
                        ? new ServerLimits { EndpointsPerSession = 2, EndpointsPerPrefix = 2, PlainAmplification = 1, Memory = 1 << 20 }
                        : new ServerLimits
                        {
                            EndpointsPerSession = 257,
                            EndpointsPerPrefix = int.MaxValue,
                            DatagramsPerSecond = relay.Ports == 64 ? (int?)null : int.MaxValue,
                            PlainAmplification = relay.Ports == 64 ? (int?)null : int.MaxValue,
                            Memory = long.MaxValue,
                        },
                    Relay = relay,
                    Tcp = new TcpOptions
                    {
                        MaxConnections = relay.Ports == 1 ? 1 : 65536,
                        MaxConnectionsPerAddress = relay.Ports == 1 ? 1 : 65536,
                    },
                }))
                using (Pair pair = service.Meet())
                    pair.Talk();
            }
        }

        private static void Refused(string option, ServerLimits limits)
        {
            Refused(option, new HolePunchServerOptions { Limits = limits });
        }

        private static void Refused(string option, HolePunchServerOptions options)
        {
            options.Address = "127.0.0.1:0";
            Check.Equal(option, Check.Throws<ArgumentOutOfRangeException>(() => new HolePunchServer(options)).ParamName);
        }
    }
}
