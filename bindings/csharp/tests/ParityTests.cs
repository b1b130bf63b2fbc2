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
                           let words = bare.Split('_').Select(word => word[0] + word.Substring(1).ToLowerInvariant())
                           select string.Concat(words) + " = " + Number(Enum.Parse(status, name));
            var actual = Enum.GetValues(typeof(HolePunchError)).Cast<HolePunchError>().Where(code => code < 0)
                .Select(code => code + " = " + (int)code);
            Check.SameItems(expected, actual, "error codes");
        }

        [Test]
        private static void Every_struct_has_its_layout_in_C()
        {
            var expected = new List<KeyValuePair<string, string>>();
            foreach (string name in new[] { "hp_addr", "hp_error", "hp_peer", "hp_counters", "hp_server_counters" })
            {
                Type type = Native(name);
                expected.Add(new KeyValuePair<string, string>("sizeof(" + name + ")", Number(Marshal.SizeOf(type))));
                foreach (FieldInfo field in type.GetFields(BindingFlags.Instance | BindingFlags.Public))
                {
                    string offset = Marshal.OffsetOf(type, field.Name).ToString();
                    expected.Add(new KeyValuePair<string, string>("offsetof(" + name + ", " + field.Name + ")", offset));
                }
            }
            string header = Files.Read("include", "holepunch.h");
            Check.Equal(5, Regex.Matches(header, @"^typedef struct hp_\w+ \{", RegexOptions.Multiline).Count, "structs");
            CheckInC(expected);
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
