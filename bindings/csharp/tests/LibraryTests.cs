using System;
using System.IO;
using System.Linq;

namespace HolePunch.Tests
{
    /// <summary>What programs are told that meet another library, or none.</summary>
    internal static class LibraryTests
    {
        private const string Name = "libholepunch.so.1";

        private static Program Start(string libraryPath, string child)
        {
            return new Program(libraryPath, "mono", new[] { Program.Beside("Tests.exe"), "--child", child });
        }

        private static void Says(string libraryPath, int status, params string[] words)
        {
            using (Program child = Start(libraryPath, "version"))
            {
                int actual = child.Wait();
                foreach (string word in words)
                    Check.Contains(word, child.Output + child.Errors);
                Check.Equal(status, actual, "exit status");
            }
        }

        [Test]
        private static void A_missing_library_says_what_to_do()
        {
            using (var directory = new Files.Temporary())
            using (Program child = Start(directory.Path, "version"))
            {
                if (child.Wait() == 0)
                    throw new SkipException("a libholepunch is installed on this system");
                foreach (string words in new[] { "LibraryNotFound: ", "cannot be loaded", "make install", "LD_LIBRARY_PATH" })
                    Check.Contains(words, child.Output + child.Errors);
            }
        }

        [Test]
        private static void A_library_that_is_none_says_what_to_do()
        {
            using (var directory = new Files.Temporary())
            {
                File.WriteAllText(directory.At(Name), "no library");
                Says(directory.Path, 1, "LibraryNotFound: libholepunch cannot be loaded");
            }
        }

        [Test]
        private static void A_library_of_another_kind_says_what_to_do()
        {
            using (var directory = new Files.Temporary())
            {
                C.Compile("int something_else(void) { return 0; }", directory.At(Name), "-shared", "-fPIC");
                Says(directory.Path, 1, "LibraryNotFound: libholepunch cannot be loaded", "hp_abi_version");
            }
        }

        [Test]
        private static void Another_binary_interface_says_what_to_do()
        {
            using (var directory = new Files.Temporary())
            {
                C.Compile("unsigned hp_abi_version(void) { return 77; }", directory.At(Name), "-shared", "-fPIC");
                Says(directory.Path, 1, "LibraryMismatch: ", "has version 77", "needs version 1", "install");
            }
        }

        [Test]
        private static void The_library_is_found_by_the_name_that_has_its_version()
        {
            string path = Environment.GetEnvironmentVariable("LD_LIBRARY_PATH") ?? "";
            string built = path.Split(':').Select(each => Path.Combine(each, Name)).FirstOrDefault(File.Exists);
            if (built == null)
                throw new SkipException("LD_LIBRARY_PATH does not name a directory with " + Name);
            using (var directory = new Files.Temporary())
            {
                File.Copy(built, directory.At(Name));
                Says(directory.Path, 0, "version " + Library.Version);
            }
        }

        [Test]
        private static void A_program_can_end_while_calls_run()
        {
            using (Program child = Start(null, "end"))
            {
                Check.Equal(3, child.Wait(), "exit status: " + child.Errors);
                Check.Equal("end", child.Output);
                Check.Equal("", child.Errors);
            }
        }
    }
}
