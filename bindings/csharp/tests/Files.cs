using System;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;

namespace HolePunch.Tests
{
    /// <summary>The project's files, and this process's descriptors.</summary>
    internal static class Files
    {
        /// <summary>The project's directory.</summary>
        internal static string Root { get; set; }

        internal static string At(params string[] parts)
        {
            return Path.Combine(new[] { Root }.Concat(parts).ToArray());
        }

        internal static string Read(params string[] parts)
        {
            return File.ReadAllText(At(parts));
        }

        /// <summary>The open ones.</summary>
        internal static int[] Descriptors()
        {
            return Directory.GetFileSystemEntries("/proc/self/fd").Select(path => int.Parse(Path.GetFileName(path))).ToArray();
        }

        [DllImport("libc", EntryPoint = "close")]
        private static extern int CloseDescriptor(int descriptor);

        internal static void Close(int descriptor)
        {
            Check.Equal(0, CloseDescriptor(descriptor), "close");
        }

        /// <summary>What a directory is that is gone when it is disposed.</summary>
        internal sealed class Temporary : IDisposable
        {
            internal string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), "hp-" + Guid.NewGuid());

            internal Temporary()
            {
                Directory.CreateDirectory(Path);
            }

            internal string At(string name)
            {
                return System.IO.Path.Combine(Path, name);
            }

            public void Dispose()
            {
                Directory.Delete(Path, true);
            }
        }
    }
}
