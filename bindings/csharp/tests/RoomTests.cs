using System;
using System.IO;
using System.Text.RegularExpressions;

namespace HolePunch.Tests
{
    /// <summary>The example program for sessions.</summary>
    internal static class RoomTests
    {
        private static Program Room(params string[] arguments)
        {
            return Program.Ours("Room.exe", arguments);
        }

        /// <summary>What a program has said about itself, as soon as it has.</summary>
        private static string Said(Program room, string pattern)
        {
            Match match = null;
            Check.Eventually(pattern + " in " + room.Output + room.Errors, () =>
                (match = Regex.Match(room.Output, "^" + pattern + "$", RegexOptions.Multiline)).Success);
            return match.Groups[1].Value;
        }

        [Test(Limit = 60)]
        private static void Three_talk_and_know_each_other_again()
        {
            using (var directory = new Files.Temporary())
            using (var service = new Service())
            {
                string[] withKey = { "--key", directory.At("key"), service.Address, "an ID" };
                string key;
                using (Program a = Room(service.Address, "an ID"), b = Room("--plain", service.Address, "an ID"))
                {
                    using (Program c = Room(withKey))
                    {
                        key = Said(c, "we are [0-9a-f]{8}, key (.*)");
                        string name = Said(a, @"([0-9a-f]{8}) joined, at 127\.0\.0\.1:\d+, [A-Za-z]+, key " + key);
                        Said(b, name + " joined, .*");
                        Said(c, Said(a, "we are ([0-9a-f]{8}), .*") + " joined, .*");
                        Said(c, Said(b, "we are ([0-9a-f]{8}), .*") + " joined, .*");
                        c.Say("grüße 漢字");
                        Said(a, name + ": grüße 漢字");
                        Said(b, name + ": grüße 漢字");
                        c.EndInput();
                        Check.Equal(0, c.Wait(), "exit status: " + c.Errors);
                        Said(a, name + " left, Goodbye");
                        Check.Equal("", c.Errors);
                    }
                    Check.Equal(32L, new FileInfo(directory.At("key")).Length, "length of the key");
                    using (Program again = Room(withKey))
                        Check.Equal(key, Said(again, "we are [0-9a-f]{8}, key (.*)"), "key");
                    foreach (Program each in new[] { a, b })
                    {
                        each.EndInput();
                        Check.Equal(0, each.Wait(), "exit status: " + each.Errors);
                    }
                }
            }
        }

        [Test]
        private static void It_says_what_goes_wrong()
        {
            Fails(1, "room: .*host:port.*", "nowhere", "ID");
            Fails(1, "room: .*find.*", "--key", "/nowhere/key", "127.0.0.1:1", "ID");
            Fails(1, "room: .*32 bytes.*", "--key", Files.At("LICENSE-MIT"), "127.0.0.1:1", "ID");
            foreach (string wrong in new[] { "", "a:1", "a:1 ID 1", "--what a:1 ID", "--key" })
                Fails(2, "usage: room (.|\n)*", wrong.Split(new[] { ' ' }, StringSplitOptions.RemoveEmptyEntries));
        }

        private static void Fails(int status, string pattern, params string[] arguments)
        {
            using (Program room = Room(arguments))
            {
                Check.Equal(status, room.Wait(), "exit status of " + string.Join(" ", arguments));
                Check.Equal("", room.Output);
                Check.True(Regex.IsMatch(room.Errors, "\\A" + pattern + "\\z"), room.Errors);
            }
        }
    }
}
