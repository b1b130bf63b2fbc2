using System.IO;
using System.Linq;

namespace HolePunch.Tests
{
    /// <summary>The C compiler.</summary>
    internal static class C
    {
        /// <summary>Compiles a text into a file.</summary>
        internal static void Compile(string text, string into, params string[] options)
        {
            if (!Program.Exists("cc"))
                throw new SkipException("there is no C compiler");
            File.WriteAllText(into + ".c", text);
            var arguments = new[] { "-std=c99", "-I" + Files.At("include"), into + ".c", "-o", into }.Concat(options);
            using (var compiler = new Program("cc", arguments.ToArray()))
                Check.Equal(0, compiler.Wait(), "cc: " + compiler.Errors);
        }
    }
}
