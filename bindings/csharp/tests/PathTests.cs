using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>Which paths are taken, what is tried, and why none is found.</summary>
    internal static class PathTests
    {
        private static HolePunchClientOptions Only(PathPolicy policy)
        {
            HolePunchClientOptions options = Service.Quick();
            options.PathPolicy = policy;
            return options;
        }

        private static HolePunchClientOptions Briefly(PathPolicy policy, int seconds)
        {
            HolePunchClientOptions options = Only(policy);
            options.Timeout = TimeSpan.FromSeconds(seconds);
            return options;
        }

        private static Service Forwarding()
        {
            return new Service(new HolePunchServerOptions { Relay = new RelayOptions() });
        }

        [Test]
        private static void Relayed_pairs_talk_through_the_server()
        {
            using (Service service = Forwarding())
            using (Pair pair = service.Meet(Only(PathPolicy.RelayOnly), Only(PathPolicy.RelayOnly)))
            {
                foreach (Peer peer in new[] { pair.ToA, pair.ToB })
                {
                    Check.Equal(PathKind.Relayed, peer.Path);
                    Check.Equal("relayed", peer.PathName);
                    Check.True(peer.Connected && peer.Authenticated, "connected and authenticated");
                    Check.Equal(Cause.Unknown, peer.Cause);
                    Check.True(peer.Attempts.All(each => each.Path == PathKind.Relayed || each.ProbesSent == 0),
                        "nothing was sent to the peer itself: " + string.Join("; ", peer.Attempts));
                }
                Check.True(pair.ToB.EndPoint.Port != pair.SocketB.LocalEndPoint.Port, "not the peer's own port");
                pair.Talk();
                ServerCounters counters = service.Server.Counters;
                Check.Equal(1ul, counters.RelayPairs, "pairs");
                Check.Equal(1ul, counters.RelayGranted, "granted");
                Check.Equal(0ul, counters.RelayRefused, "refused");
                Check.Equal(0ul, counters.RelayOverLimit, "over the limit");
                Check.True(counters.RelayForwarded >= 2 && counters.RelayForwardedBytes > 2, "forwarded");
                using (var stranger = new System.Net.Sockets.UdpClient(0))
                    stranger.Send(new byte[] { 1, 2, 3 }, 3, pair.ToB.EndPoint);
                Check.Eventually("a stranger's is dropped",
                    () => service.Server.Counters.RelayDropped > counters.RelayDropped);
            }
        }

        [Test]
        private static void Direct_paths_are_preferred_and_their_attempts_are_told()
        {
            using (Service service = Forwarding())
            using (Pair pair = service.Meet(Only(PathPolicy.DirectOnly), Only(PathPolicy.DirectPreferred)))
            {
                foreach (Peer peer in new[] { pair.ToA, pair.ToB })
                {
                    Check.True(peer.Path != PathKind.Relayed, peer.PathName);
                    Check.Equal("no cause is known", peer.CauseText);
                    Check.Equal(RelayRefusal.None, peer.RelayRefused);
                    Check.Equal("none", peer.RelayRefusedName);
                    PathAttempt attempt = peer.Attempts.Single(each => each.EndPoint.Equals(peer.EndPoint));
                    Check.True(attempt.ProbesSent > 0 && attempt.ProbesReceived > 0, "both counted: " + attempt);
                    Check.True(Enum.IsDefined(typeof(PathKind), attempt.Path), "a known path");
                    Check.Contains(peer.EndPoint + " (", attempt.ToString());
                    Check.Contains("): " + attempt.ProbesSent + " probes sent, " + attempt.ProbesReceived + " received",
                        attempt.ToString());
                }
                pair.Talk();
            }
        }

        [Test]
        private static void Those_who_insist_on_different_paths_are_told_why_they_do_not_meet()
        {
            using (Service service = Forwarding())
            {
                // Whoever ends first is not told that the other one left.
                Peer[] missed = Miss(service, Briefly(PathPolicy.RelayOnly, 2), Briefly(PathPolicy.DirectOnly, 4));
                Check.Equal(Cause.Policy, missed[0].Cause);
                Check.Contains("insist on different kinds of paths", missed[0].CauseText);
                Check.True(missed[0].Attempts.All(each => each.Path == PathKind.Relayed), "only the relay was tried");
                Check.True(missed[1].Cause != Cause.Unknown, "the other one is told something, too");
                Check.True(missed[1].Attempts.All(each => each.Path != PathKind.Relayed), "the relay was not tried");
            }
        }

        [Test]
        private static void A_relayed_path_needs_a_server_that_forwards()
        {
            using (var service = new Service())
            {
                Peer[] missed = Miss(service, Briefly(PathPolicy.RelayOnly, 2), Briefly(PathPolicy.RelayOnly, 4));
                Check.Equal(Cause.Policy, missed[0].Cause);
                Check.Equal(RelayRefusal.NotOffered, missed[0].RelayRefused);
                Check.Equal("not-offered", missed[0].RelayRefusedName);
                Check.Equal(0u, missed[0].Guesses, "guesses");
                Check.True(service.Server.Counters.RelayRefused >= 1, "refused");
                Check.True(missed[1].Cause == Cause.PeerLeft || missed[1].Cause == Cause.Policy, missed[1].CauseText);
            }
        }

        /// <summary>What two clients that do not meet are told about each other.</summary>
        private static Peer[] Miss(Service service, params HolePunchClientOptions[] options)
        {
            byte[] id = Service.NewId();
            HolePunchClient[] clients = options.Select(each => service.Client(each)).ToArray();
            var calls = clients.Select(client => client.ConnectAsync(id, 1)).ToArray();
            try
            {
                return calls.Select(call =>
                {
                    var error = Check.Fails(HolePunchError.TimedOutPunching, call);
                    Peer peer = error.Peers.Single();
                    Check.True(!peer.Connected, "not connected");
                    Check.Contains(peer.CauseText, error.Message);
                    return peer;
                }).ToArray();
            }
            finally
            {
                foreach (HolePunchClient client in clients)
                    client.Dispose();
            }
        }

        [Test]
        private static void Peers_meet_with_every_combination_of_techniques()
        {
            using (var service = new Service())
            {
                foreach (Techniques techniques in new[] { Techniques.None, Techniques.LowTtl,
                    Techniques.Diagnosis | Techniques.Prediction, Techniques.All & ~Techniques.ManySockets })
                {
                    HolePunchClientOptions options = Service.Quick();
                    options.Techniques = techniques;
                    using (Pair pair = service.Meet(options))
                        pair.Talk();
                }
            }
        }

        [Test]
        private static void Policies_techniques_and_transports_have_their_defaults_and_ranges()
        {
            var options = new HolePunchClientOptions();
            Check.Equal(PathPolicy.DirectPreferred, options.PathPolicy);
            Check.Equal(Techniques.All, options.Techniques);
            Check.Equal(Transport.Udp, options.Transport);
            foreach (int policy in new[] { -1, 3 })
                Refused("PathPolicy", new HolePunchClientOptions { PathPolicy = (PathPolicy)policy });
            foreach (int techniques in new[] { -1, 64 })
                Refused("Techniques", new HolePunchClientOptions { Techniques = (Techniques)techniques });
            foreach (int transport in new[] { 0, 4 })
                Refused("Transport", new HolePunchClientOptions { Transport = (Transport)transport });
        }

        private static void Refused(string option, HolePunchClientOptions options)
        {
            var error = Check.Throws<ArgumentOutOfRangeException>(() => new HolePunchClient("127.0.0.1:5000", options));
            Check.Equal(option, error.ParamName);
        }
    }
}
