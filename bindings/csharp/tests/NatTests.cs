using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>What clients find out about the NAT.</summary>
    internal static class NatTests
    {
        private static void IsLoopback(NatReport report)
        {
            Check.Equal(NatMapping.None, report.Mapping);
            Check.Equal(IPAddress.Loopback, report.Local.Address);
            Check.Equal(report.Local, report.Observed, "observed");
            Check.Equal(null, report.ObservedIPv6, "observed over IPv6");
            Check.True(Enum.IsDefined(typeof(NatFiltering), report.Filtering), "filtering: " + report.Filtering);
            Check.Equal(NatAllocation.Unknown, report.Allocation);
            Check.True(report.Step == 0 && report.FirstPort == 0 && report.LastPort == 0, "no ports to choose");
            Check.True(Enum.IsDefined(typeof(NatHairpin), report.Hairpin), "hairpin: " + report.Hairpin);
            Check.Equal((PortMappingProtocols)0, report.PortMapping & ~(PortMappingProtocols)7, "other protocols");
            Check.True(report.InnerRouters == null || report.InnerRouters >= 0, "routers: " + report.InnerRouters);
            Check.Contains("mapping: None, filtering: " + report.Filtering, report.ToString());
            Check.Contains(report.Local + " is seen as " + report.Local, report.ToString());
        }

        [Test]
        private static void There_is_none_on_loopback()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client())
            {
                NatReport blocking = client.CheckNat(), awaited = client.CheckNatAsync().Result;
                foreach (NatReport report in new[] { blocking, awaited })
                {
                    IsLoopback(report);
                    Check.Equal(null, report.MinMappingLifetime, "at least");
                    Check.Equal(null, report.MaxMappingLifetime, "at most");
                }
            }
        }

        [Test]
        private static void What_is_found_out_depends_on_what_the_server_listens_on()
        {
            Finds(NatFiltering.EndpointIndependent, new HolePunchServerOptions { OtherAddress = IPAddress.Parse("127.0.0.2") });
            Finds(NatFiltering.NotPortDependent, new HolePunchServerOptions());
            Finds(NatFiltering.Unknown, new HolePunchServerOptions { AlternatePorts = 0 });
        }

        private static void Finds(NatFiltering expected, HolePunchServerOptions options)
        {
            using (var service = new Service(options))
            using (HolePunchClient client = service.Client())
                Check.Equal(expected, client.CheckNat().Filtering);
        }

        [Test]
        private static void The_lifetime_of_mappings_is_looked_for_if_asked()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client(), other = service.Client())
            {
                // The shortest silence that is tried; it does not count against the time that a call has.
                TimeSpan longest = TimeSpan.FromSeconds(10);
                client.Timeout = other.Timeout = TimeSpan.FromSeconds(9);
                Task<NatReport> awaited = other.CheckNatAsync(longest);
                foreach (NatReport report in new[] { client.CheckNat(longest), awaited.Result })
                {
                    IsLoopback(report);
                    Check.Equal(longest, report.MinMappingLifetime, "at least");
                    Check.Equal(null, report.MaxMappingLifetime, "nothing ends them");
                }
            }
        }

        [Test]
        private static void A_check_leaves_peers_and_sockets_alone()
        {
            using (var service = new Service())
            using (HolePunchClient a = service.Client(), b = service.Client())
            {
                byte[] id = Service.NewId();
                Task<IReadOnlyList<Peer>> other = b.ConnectAsync(id, 1);
                Peer toB = a.Connect(id, 1).Single(), toA = other.Result.Single();
                ulong sent = a.Counters.ProbesSent;
                a.CheckNat();
                Check.Equal(sent, a.Counters.ProbesSent, "probes sent");
                using (HoleSocket atA = a.TakeSocket(toB), atB = b.TakeSocket(toA))
                {
                    atB.ReceiveTimeout = TimeSpan.FromSeconds(10);
                    atA.Send(new byte[] { 42 }, toB.EndPoint);
                    Check.Equal(42, (int)atB.Receive().Data.Single());
                }
            }
        }

        [Test]
        private static void Failures_have_their_codes()
        {
            var brief = new HolePunchClientOptions { Timeout = TimeSpan.FromMilliseconds(500) };
            using (Socket silent = Sockets.Bound())
            using (var client = new HolePunchClient(silent.LocalEndPoint.ToString(), brief))
            {
                Check.True(Check.Fails(HolePunchError.ServerSilent, () => client.CheckNat()).IsTimeout, "a timeout");
                Check.Fails(HolePunchError.ServerSilent, client.CheckNatAsync());
            }
            using (var client = new HolePunchClient("127.0.0.1:1", brief))
                Check.Fails(HolePunchError.ServerPortClosed, () => client.CheckNat());
            using (var client = new HolePunchClient("no-such-host.invalid:5000", brief))
                Check.Fails(HolePunchError.ServerNotFound, () => client.CheckNat());
            using (var service = new Service(new HolePunchServerOptions { Dialect = Dialect.Plain }))
            using (HolePunchClient client = service.Client(brief))
                Check.Fails(HolePunchError.DialectMismatch, () => client.CheckNat());
            using (var client = new HolePunchClient("127.0.0.1:5000", brief))
            {
                foreach (TimeSpan longest in new[] { TimeSpan.FromTicks(-1), TimeSpan.FromDays(50), TimeSpan.MaxValue })
                {
                    Check.Equal("longestLifetime",
                        Check.Throws<ArgumentOutOfRangeException>(() => client.CheckNat(longest)).ParamName);
                    Check.Throws<ArgumentOutOfRangeException>(() => client.CheckNatAsync(longest));
                }
                client.Dispose();
                Check.Throws<ObjectDisposedException>(() => client.CheckNat());
                Check.Throws<ObjectDisposedException>(client.CheckNatAsync());
            }
        }

        /// <summary>A check that is not going to end by itself.</summary>
        private static HolePunchClient Waiting(Socket silent)
        {
            return new HolePunchClient(silent.LocalEndPoint.ToString(),
                new HolePunchClientOptions { Timeout = Timeout.InfiniteTimeSpan });
        }

        /// <summary>The time that a check takes to end once it has sent something.</summary>
        private static TimeSpan Ends<T>(Socket server, Task check, Action end) where T : Exception
        {
            server.ReceiveTimeout = 10000;
            server.Receive(new byte[2048]);
            Stopwatch took = Stopwatch.StartNew();
            end();
            Check.Throws<T>(check);
            return took.Elapsed;
        }

        [Test]
        private static void A_token_ends_a_check_within_50_ms()
        {
            Check.Within(50, () =>
            {
                using (Socket silent = Sockets.Bound())
                using (HolePunchClient client = Waiting(silent))
                using (var source = new CancellationTokenSource())
                {
                    Task check = client.CheckNatAsync(source.Token);
                    TimeSpan took = Ends<OperationCanceledException>(silent, check, source.Cancel);
                    Check.True(check.IsCanceled, "the task is cancelled");
                    Check.Throws<OperationCanceledException>(() => client.CheckNat(source.Token));
                    return took;
                }
            });
        }

        [Test]
        private static void A_token_ends_the_wait_for_a_lifetime_within_50_ms()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client())
            {
                Check.Within(50, () =>
                {
                    using (var source = new CancellationTokenSource())
                    {
                        Task check = client.CheckNatAsync(TimeSpan.FromMinutes(10), source.Token);
                        Check.True(!check.Wait(4000), "it waits");
                        Stopwatch took = Stopwatch.StartNew();
                        source.Cancel();
                        Check.Throws<OperationCanceledException>(check);
                        return took.Elapsed;
                    }
                });
            }
        }

        [Test]
        private static void Cancel_ends_a_check()
        {
            using (Socket silent = Sockets.Bound())
            using (HolePunchClient client = Waiting(silent))
            {
                Ends<OperationCanceledException>(silent, client.CheckNatAsync(), client.Cancel);
                Ends<OperationCanceledException>(silent, client.CheckNatAsync(), client.Cancel);
            }
        }

        [Test]
        private static void Disposing_ends_a_check_within_50_ms()
        {
            Check.Within(50, () =>
            {
                using (Socket silent = Sockets.Bound())
                using (HolePunchClient client = Waiting(silent))
                    return Ends<ObjectDisposedException>(silent, client.CheckNatAsync(), client.Dispose);
            });
        }
    }
}
