using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;

namespace HolePunch.Tests
{
    /// <summary>The generated declarations are C's.</summary>
    internal static class ParityTests
    {
        private const BindingFlags All = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

        private static Type Native(string name)
        {
            return typeof(HolePunchClient).Assembly.GetType("HolePunch.Native." + name, true);
        }

        private static IEnumerable<FieldInfo> Constants()
        {
            return Native("NativeMethods").GetFields(All).Where(field => field.IsLiteral && field.Name.StartsWith("HP_"));
        }

        private static string Number(object value)
        {
            return Convert.ToInt64(value, CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture);
        }

        [Test]
        private static void Every_function_is_declared_and_no_other()
        {
            var declared = Native("NativeMethods").GetMethods(All)
                .Where(method => method.GetCustomAttribute<DllImportAttribute>() != null).ToArray();
            var exported = Files.Read("include", "holepunch.symbols").Split('\n').Where(line => line != "");
            Check.SameItems(exported, declared.Select(method => method.Name), "functions");
            foreach (MethodInfo method in declared)
            {
                var import = method.GetCustomAttribute<DllImportAttribute>();
                Check.Equal("holepunch", import.Value, method.Name);
                Check.Equal(method.Name, import.EntryPoint, method.Name);
                Check.Equal(CallingConvention.Cdecl, import.CallingConvention, method.Name);
            }
        }

        [Test]
        private static void Every_constant_is_declared_and_has_its_value_in_C()
        {
            var header = Regex.Matches(Files.Read("include", "holepunch.h"), @"^#define (HP_\w+) (\d+|UINT32_MAX)$",
                RegexOptions.Multiline).Cast<Match>().Select(match => match.Groups[1].Value);
            Check.SameItems(header, Constants().Select(field => field.Name), "constants");
            CheckInC(Constants().Select(
                field => new KeyValuePair<string, string>(field.Name, Number(field.GetRawConstantValue()))));
        }

        [Test]
        private static void Every_status_has_its_value_in_C()
        {
            Type status = Native("hp_status");
            var header = Regex.Matches(Files.Read("include", "holepunch.h"), @"^ +(HP_STATUS_\w+) = -?\d+,$",
                RegexOptions.Multiline).Cast<Match>().Select(match => match.Groups[1].Value);
            Check.SameItems(header, Enum.GetNames(status), "statuses");
            CheckInC(Enum.GetNames(status).Select(
                name => new KeyValuePair<string, string>(name, Number(Enum.Parse(status, name)))));
        }

        [Test]
        private static void Every_status_that_a_program_may_see_has_an_error_code()
        {
            // Success, what the assembly deals with itself, and what is another kind of exception.
            string[] unseen = { "OK", "BUFFER_TOO_SMALL", "NOTHING", "CANCELLED" };
            Type status = Native("hp_status");
            var expected = from name in Enum.GetNames(status)
                           let bare = name.Substring("HP_STATUS_".Length)
                           where !unseen.Contains(bare)
                           select Words(bare) + " = " + Number(Enum.Parse(status, name));
            var actual = Enum.GetValues(typeof(HolePunchError)).Cast<HolePunchError>().Where(code => code < 0)
                .Select(code => code + " = " + (int)code);
            Check.SameItems(expected, actual, "error codes");
        }

        [Test]
        private static void Every_struct_has_its_layout_in_C()
        {
            var expected = new List<KeyValuePair<string, string>>();
            string[] names = Regex.Matches(Files.Read("include", "holepunch.h"), @"^typedef struct (hp_\w+) \{",
                RegexOptions.Multiline).Cast<Match>().Select(match => match.Groups[1].Value).ToArray();
            Check.SameItems(new[] { "hp_addr", "hp_error", "hp_peer", "hp_counters", "hp_attempt", "hp_nat_report",
                "hp_server_counters", "hp_server_limits", "hp_relay_options", "hp_tcp_options", "hp_peer_id", "hp_session_event", "hp_session_peer",
                "hp_session_counters", "hp_session_options", "hp_conn_options", "hp_conn_event", "hp_conn_info" }, names, "structs");
            foreach (string name in names)
            {
                Type type = Native(name);
                expected.Add(new KeyValuePair<string, string>("sizeof(" + name + ")", Number(Marshal.SizeOf(type))));
                foreach (FieldInfo field in type.GetFields(BindingFlags.Instance | BindingFlags.Public))
                {
                    string offset = Marshal.OffsetOf(type, field.Name).ToString();
                    expected.Add(new KeyValuePair<string, string>("offsetof(" + name + ", " + field.Name + ")", offset));
                }
            }
            CheckInC(expected);
        }

        [Test]
        private static void Every_constant_that_a_program_may_see_is_in_an_enumeration()
        {
            HasMembers<PathKind>("HP_PATH_");
            HasMembers<Dialect>("HP_DIALECT_");
            HasMembers<PathPolicy>("HP_PATHS_");
            HasMembers<Techniques>("HP_TECHNIQUE_", "None = 0", "All = " + (int)Techniques.All);
            HasMembers<Cause>("HP_CAUSE_");
            HasMembers<RelayRefusal>("HP_REFUSAL_");
            HasMembers<NatMapping>("HP_MAPPING_", "Unknown = 0");
            HasMembers<NatFiltering>("HP_FILTERING_", "Unknown = 0");
            HasMembers<NatAllocation>("HP_ALLOCATION_", "Unknown = 0");
            HasMembers<NatHairpin>("HP_HAIRPIN_", "Unknown = 0");
            HasMembers<PortMappingProtocols>("HP_PORT_MAPPING_", "None = 0");
            HasMembers<Departure>("HP_LEFT_");
            HasMembers<SessionRefusal>("HP_REFUSED_");
            HasMembers<Transport>("HP_TRANSPORT_");
            HasMembers<ConnectionEnd>("HP_END_");
        }

        [Test]
        private static void Every_event_has_a_class_and_is_raised()
        {
            const string prefix = "HP_EVENT_";
            var expected = Constants().Where(field => field.Name.StartsWith(prefix))
                .Select(field => Words(field.Name.Substring(prefix.Length)));
            Type[] classes = typeof(SessionEvent).GetNestedTypes().Where(type => !type.IsAbstract).ToArray();
            Check.SameItems(expected, classes.Select(type => type.Name), "classes");
            var raised = typeof(Session).GetEvents().Select(each => each.EventHandlerType.GetGenericArguments().Single());
            Check.SameItems(classes, raised, "events");
        }

        private static void HasMembers<T>(string prefix, params string[] others)
        {
            var expected = Constants().Where(field => field.Name.StartsWith(prefix))
                .Select(field => Words(field.Name.Substring(prefix.Length)) + " = " + Number(field.GetRawConstantValue()));
            var actual = Enum.GetValues(typeof(T)).Cast<object>().Select(each => each + " = " + Number(each));
            Check.SameItems(expected.Concat(others), actual, typeof(T).Name);
        }

        // WORDS_LIKE_THESE as WordsLikeThese.
        private static string Words(string constant)
        {
            return string.Concat(constant.Split('_').Select(word => word[0] + word.Substring(1).ToLowerInvariant()));
        }

        [Test]
        private static void A_relay_has_the_same_defaults_in_C()
        {
            var options = new RelayOptions();
            var expected = new Dictionary<string, object>
            {
                { "ports", options.Ports },
                { "max_pairs", options.MaxPairs },
                { "reserved", 0 },
                { "bytes_per_second", options.BytesPerSecond },
                { "idle_ms", options.Idle.TotalMilliseconds },
                { "lifetime_ms", options.Lifetime.TotalMilliseconds },
            };
            CheckInC(expected.Select(each => new KeyValuePair<string, string>(
                "((hp_relay_options)HP_RELAY_OPTIONS_INIT)." + each.Key, Number(each.Value))));
        }

        [Test]
        private static void A_server_has_the_same_limits_in_C()
        {
            var limits = new ServerLimits();
            var expected = new Dictionary<string, object>
            {
                { "endpoints_per_session", limits.EndpointsPerSession },
                { "endpoints_per_prefix", limits.EndpointsPerPrefix },
                { "datagrams_per_second", limits.DatagramsPerSecond },
                { "plain_amplification", limits.PlainAmplification },
                { "reserved", 0 },
                { "memory", limits.Memory },
            };
            CheckInC(expected.Select(each => new KeyValuePair<string, string>(
                "((hp_server_limits)HP_SERVER_LIMITS_INIT)." + each.Key, Number(each.Value))));
        }

        [Test]
        private static void Connections_have_the_same_limits_in_C()
        {
            var options = new TcpOptions();
            var expected = new Dictionary<string, object>
            {
                { "max_connections", options.MaxConnections },
                { "max_connections_per_address", options.MaxConnectionsPerAddress },
                { "reserved", 0 },
            };
            CheckInC(expected.Select(each => new KeyValuePair<string, string>(
                "((hp_tcp_options)HP_TCP_OPTIONS_INIT)." + each.Key, Number(each.Value))));
        }

        [Test]
        private static void A_session_has_the_same_defaults_in_C()
        {
            var options = new SessionOptions();
            Check.True(options.Identity == null && options.PinnedKeys == null, "there are no keys");
            var expected = new Dictionary<string, object>
            {
                { "plain_peers", options.PlainPeers },
                { "identity == NULL", true },
                { "pinned == NULL", true },
                { "pinned_count", 0 },
                { "max_unacknowledged", options.MaxUnacknowledged },
                { "max_unfetched", options.MaxUnfetched },
            };
            CheckInC(expected.Select(each => new KeyValuePair<string, string>(
                "((hp_session_options)HP_SESSION_OPTIONS_INIT)." + each.Key, Number(each.Value))));
        }

        [Test]
        private static void A_connection_from_addresses_has_the_same_defaults_in_C()
        {
            var options = new AddressConnectionOptions();
            Check.True(options.AddressServer == null && options.StunServer == null && options.PublicAddress == null,
                "nobody is asked for our address");
            var expected = new Dictionary<string, object>
            {
                { "transport", Transport.Udp },
                { "id == NULL", true },
                { "unauthenticated", false },
                { "data_events", !options.TakesSocket },
                { "local.family", options.LocalEndPoint == null ? 0 : 1 },
                { "address_source == HP_ADDRESS_NOBODY", true },
                { "attempt_timeout_ms", options.AttemptTimeout.TotalMilliseconds },
                { "attempts", options.Attempts },
                { "reserved", 0 },
                { "address_server == NULL", true },
                { "address_known.family", 0 },
            };
            CheckInC(expected.Select(each => new KeyValuePair<string, string>(
                "((hp_conn_options)HP_CONN_OPTIONS_INIT)." + each.Key, Number(each.Value))));
        }

        /// <summary>Has a C program print what expressions are.</summary>
        private static void CheckInC(IEnumerable<KeyValuePair<string, string>> expected)
        {
            var text = new StringBuilder("#include <holepunch.h>\n#include <stdio.h>\nint main(void)\n{\n");
            foreach (var each in expected)
                text.Append("    printf(\"%s = %lld\\n\", \"" + each.Key + "\", (long long)(" + each.Key + "));\n");
            using (var directory = new Files.Temporary())
            {
                string path = directory.At("parity");
                C.Compile(text + "    return 0;\n}\n", path);
                using (var program = new Program(path))
                {
                    Check.Equal(0, program.Wait(), "exit status");
                    Check.SameItems(program.Output.Split('\n'), expected.Select(each => each.Key + " = " + each.Value), "in C#");
                }
            }
        }
    }
}
