using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Text;

namespace HolePunch.Tests
{
    /// <summary>Another program that runs, whose output is kept. It speaks UTF-8, whatever the locale.</summary>
    internal sealed class Program : IDisposable
    {
        private readonly Process process;
        private readonly List<string> output = new List<string>();
        private readonly List<string> errors = new List<string>();

        internal Program(string name, params string[] arguments) : this(null, name, arguments)
        {
        }

        /// <summary>The library is looked for in a directory; null is where the tests have found it.</summary>
        internal Program(string libraryPath, string name, string[] arguments)
        {
            var start = new ProcessStartInfo(name, string.Join(" ", arguments.Select(each => "\"" + each + "\"")))
            {
                UseShellExecute = false,
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                StandardOutputEncoding = Encoding.UTF8,
                StandardErrorEncoding = Encoding.UTF8,
            };
            if (libraryPath != null)
                start.EnvironmentVariables["LD_LIBRARY_PATH"] = libraryPath;
            process = new Process { StartInfo = start };
            process.OutputDataReceived += (sender, e) => Keep(output, e.Data);
            process.ErrorDataReceived += (sender, e) => Keep(errors, e.Data);
            process.Start();
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
        }

        /// <summary>One of our own, beside the tests.</summary>
        internal static Program Ours(string name, params string[] arguments)
        {
            return new Program("mono", new[] { Beside(name) }.Concat(arguments).ToArray());
        }

        internal static string Beside(string name)
        {
            return System.IO.Path.Combine(AppDomain.CurrentDomain.BaseDirectory, name);
        }

        private static void Keep(List<string> lines, string line)
        {
            if (line == null)
                return;
            lock (lines)
                lines.Add(line);
        }

        internal string Output => Text(output);

        internal string Errors => Text(errors);

        private static string Text(List<string> lines)
        {
            lock (lines)
                return string.Join("\n", lines);
        }

        internal void Say(string line)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(line + "\n");
            process.StandardInput.BaseStream.Write(bytes, 0, bytes.Length);
            process.StandardInput.BaseStream.Flush();
        }

        internal void EndInput()
        {
            process.StandardInput.Close();
        }

        /// <summary>Its exit status.</summary>
        internal int Wait()
        {
            Check.True(process.WaitForExit(15000), "it ends; so far: " + Output + Errors);
            // What it has said last may not be here yet.
            process.WaitForExit();
            return process.ExitCode;
        }

        /// <summary>Whether there is such a program.</summary>
        internal static bool Exists(string name)
        {
            string path = Environment.GetEnvironmentVariable("PATH") ?? "";
            return path.Split(':').Any(each => System.IO.File.Exists(System.IO.Path.Combine(each, name)));
        }

        public void Dispose()
        {
            if (!process.HasExited)
                process.Kill();
            process.Dispose();
        }
    }
}
