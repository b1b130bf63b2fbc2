using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.RegularExpressions;
using System.Xml;

namespace HolePunch.Tests
{
    /// <summary>The project file, which only a .NET SDK could build, and the documentation.</summary>
    internal static class ProjectTests
    {
        private static readonly string project = Files.At("bindings", "csharp", "HolePunch.csproj");

        private static XmlElement[] Elements(string path, string name)
        {
            var document = new XmlDocument();
            document.Load(path);
            return document.GetElementsByTagName(name).Cast<XmlElement>().ToArray();
        }

        private static string Property(string name)
        {
            return Elements(project, name).Single().InnerText;
        }

        [Test]
        private static void It_takes_all_sources_and_nothing_else()
        {
            Check.Equal("false", Property("EnableDefaultCompileItems"));
            Check.Equal("src/**/*.cs", Elements(project, "Compile").Single().GetAttribute("Include"));
            string directory = Files.At("bindings", "csharp");
            var sources = Directory.GetFiles(directory, "*.cs", SearchOption.AllDirectories)
                .Select(path => path.Substring(directory.Length + 1).Split('/')[0]).Distinct();
            Check.SameItems(new[] { "src", "tests" }, sources, "directories with sources");
            // Mono's build takes those in src itself.
            Check.Equal(0, Directory.GetDirectories(Path.Combine(directory, "src")).Length, "directories in src");
        }

        [Test]
        private static void Its_package_is_complete()
        {
            Check.Equal("netstandard2.0;netstandard2.1;net8.0;net10.0", Property("TargetFrameworks"));
            foreach (string name in new[] { "PackageId", "Authors", "Description", "PackageLicenseExpression" })
                Check.True(Property(name) != "", name);
            foreach (string name in new[] { "GenerateDocumentationFile", "IncludeSymbols", "EnablePackageValidation" })
                Check.Equal("true", Property(name), name);
            Check.True(File.Exists(Files.At("bindings", "csharp", Property("PackageReadmeFile"))), "it has a README");
            var native = Elements(project, "None").Single(each => each.GetAttribute("Include") == "$(NativeLibrary)");
            Check.Equal("runtimes/linux-x64/native/libholepunch.so", native.GetAttribute("PackagePath"));
        }

        [Test]
        private static void It_has_the_librarys_version()
        {
            string crate = Regex.Match(Files.Read("Cargo.toml"), "^version = \"(.*)\"$", RegexOptions.Multiline).Groups[1].Value;
            Check.Equal(crate, Property("Version"));
            Check.Equal(crate, Library.Version);
        }

        [Test]
        private static void The_examples_refer_to_it()
        {
            string[] examples = Directory.GetDirectories(Files.At("examples", "csharp"));
            Check.True(examples.Length > 0, "there are some");
            foreach (string directory in examples)
            {
                string path = Path.Combine(directory, Path.GetFileName(directory) + ".csproj");
                string reference = Elements(path, "ProjectReference").Single().GetAttribute("Include");
                Check.True(File.Exists(Path.Combine(directory, reference)), path + ": " + reference);
            }
        }

        [Test]
        private static void Every_public_member_is_documented()
        {
            var documented = new HashSet<string>(Elements(Program.Beside("HolePunch.xml"), "member")
                .Select(each => each.GetAttribute("name").Split('(')[0]));
            var types = typeof(HolePunchClient).Assembly.GetExportedTypes();
            Check.True(types.Length > 15, types.Length + " types");
            foreach (Type type in types)
            {
                string name = type.FullName.Replace('+', '.');
                Check.True(documented.Contains("T:" + name), name);
                foreach (var property in type.GetProperties().Where(each => each.DeclaringType == type))
                    Check.True(documented.Contains("P:" + name + "." + property.Name), type + "." + property.Name);
                foreach (var method in type.GetMethods().Where(each => each.DeclaringType == type && !each.IsSpecialName
                    && !typeof(Delegate).IsAssignableFrom(type)))
                    Check.True(documented.Contains("M:" + name + "." + method.Name), type + "." + method.Name);
            }
        }

        [Test]
        private static void The_sources_compile_without_what_came_after_NET_Standard_2_0()
        {
            using (var directory = new Files.Temporary())
            using (var compiler = new Program("mcs", "-langversion:7.2", "-unsafe", "-warnaserror", "-target:library",
                "-out:" + directory.At("HolePunch.dll"), Files.At("bindings", "csharp", "src", "*.cs")))
                Check.True(compiler.Wait() == 0, compiler.Output + compiler.Errors);
        }

        [Test]
        private static void The_snippets_compile()
        {
            string[] paths = { "README.md", "bindings/csharp/README.md", "docs/csharp.md" };
            foreach (string path in paths.Select(each => Files.At(each)))
            {
                var snippets = Regex.Matches(File.ReadAllText(path), @"^```csharp\n(.*?)^```$",
                    RegexOptions.Multiline | RegexOptions.Singleline).Cast<Match>().Select(match => match.Groups[1].Value)
                    .ToArray();
                Check.True(snippets.Length > 0, path + " has some");
                foreach (string snippet in snippets)
                    Compile(path, snippet);
            }
        }

        private static void Compile(string path, string snippet)
        {
            using (var directory = new Files.Temporary())
            {
                string source = directory.At("Snippet.cs");
                string usings = string.Concat(new[] { "System", "System.Collections.Generic", "System.Linq", "System.Net",
                    "System.Net.Sockets", "System.Text", "System.Threading", "System.Threading.Tasks", "HolePunch" }
                    .Select(each => "using " + each + ";\n"));
                File.WriteAllText(source, usings + "public static class Snippet\n{\n"
                    + "public static HolePunchClient client;\npublic static byte[] id;\npublic static PublicKey key;\npublic static CancellationToken token;\n"
                    + "public static async Task Run()\n{\nawait Task.Yield();\n" + snippet + "}\n}\n");
                using (var compiler = new Program("mcs", "-langversion:7.2", "-target:library",
                    "-r:" + Program.Beside("HolePunch.dll"), "-out:" + directory.At("Snippet.dll"), source))
                    Check.True(compiler.Wait() == 0, path + ":\n" + snippet + compiler.Output + compiler.Errors);
            }
        }
    }
}
