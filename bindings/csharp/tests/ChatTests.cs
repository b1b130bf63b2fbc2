using System;
using System.IO;
using System.Linq;
using System.Text.RegularExpressions;
using System.Threading;

namespace HolePunch.Tests
{
    /// <summary>The example program.</summary>
    internal static class ChatTests
    {
        private static Program Chat(params string[] arguments)
        {
            return Program.Ours("Chat.exe", arguments);
        }

        private static void Talk(Program a, Program b)
        {
            string[] words = { "one", "grüße 漢字", new string('x', 1500) };
            foreach (Program each in new[] { a, b })
                Check.Eventually("it is connected: " + each.Errors, () => each.Output.Contains("\nconnected 1 "));
            foreach (Program from in new[] { a, b })
            {
                Program to = from == a ? b : a;
                foreach (string text in words)
                    from.Say(text);
                // A line that is too long comes in pieces.
                string[] heard = { words[0], words[1], words[2].Substring(0, 1200), words[2].Substring(1200) };
                Check.Eventually("everything is heard: " + to.Errors,
                    () => heard.All(each => to.Output.Contains("\n0: " + each)));
                Check.True(Regex.IsMatch(from.Output, @"\Apeer 0 127\.0\.0\.1:\d+ [a-z-]+ (-|\d+\.\d{3})\nconnected 1 \d+\n?"),
                    from.Output);
            }
            foreach (Program each in new[] { a, b })
            {
                each.EndInput();
                Check.Equal(0, each.Wait(), "exit status");
                Check.Equal("", each.Errors);
            }
        }

        [Test(Limit = 60)]
        private static void Two_talk_in_every_dialect()
        {
            using (var service = new Service())
            {
                foreach (string dialect in new[] { "auto", "native", "plain" })
                {
                    using (Program a = Chat("--dialect", dialect, service.Address, "ID " + dialect, "1"))
                    using (Program b = Chat("--timeout", "15000", "--dialect", dialect, service.Address, "ID " + dialect, "1"))
                        Talk(a, b);
                }
            }
        }

        [Test]
        private static void It_talks_with_the_one_in_C()
        {
            string path = Files.At("build", "bin", "chat");
            if (!File.Exists(path))
                throw new SkipException("the chat in C is not built");
            using (var service = new Service())
            using (Program a = Chat(service.Address, "our ID", "1"))
            using (var b = new Program(path, service.Address, "our ID", "1"))
                Talk(a, b);
        }

        [Test]
        private static void It_says_what_goes_wrong()
        {
            Fails(1, "chat: .* \\(ServerPortClosed\\)", "--timeout", "500", "127.0.0.1:1", "ID", "1");
            Fails(1, "chat: .*host:port.*", "nowhere", "ID", "1");
            foreach (string wrong in new[] { "", "a:1 ID", "a:1 ID 0", "a:1 ID 65", "a:1 ID 1 2", "--dialect a a:1 ID 1",
                "--timeout x a:1 ID 1", "--timeout -2 a:1 ID 1", "--what 1 a:1 ID 1" })
                Fails(2, "usage: chat (.|\n)*", wrong.Split(new[] { ' ' }, StringSplitOptions.RemoveEmptyEntries));
        }

        private static void Fails(int status, string pattern, params string[] arguments)
        {
            using (Program chat = Chat(arguments))
            {
                Check.Equal(status, chat.Wait(), "exit status of " + string.Join(" ", arguments));
                Check.Equal("", chat.Output);
                Check.True(Regex.IsMatch(chat.Errors, "\\A" + pattern + "\\z"), chat.Errors);
            }
        }

        [Test]
        private static void An_interrupt_ends_the_waiting()
        {
            // Mono looks at interrupts only where there is a terminal that is not called dumb. A shell that waited for
            // the chat would end by the interrupt itself.
            if (!Program.Exists("script"))
                throw new SkipException("there is no script command");
            using (var service = new Service())
            {
                string command = "TERM=xterm exec mono " + Program.Beside("Chat.exe") + " --timeout -1 " + service.Address + " ID 1";
                using (var chat = new Program("script", "-qec", command, "/dev/null"))
                {
                    Check.Eventually("it waits", () => service.Server.Endpoints.Count == 1);
                    Thread.Sleep(100);
                    chat.Say("\u0003");
                    Check.Equal(1, chat.Wait(), "exit status");
                    Check.Contains("chat: cancelled", chat.Output);
                    Check.Eventually("it has left", () => service.Server.Endpoints.Count == 0);
                }
            }
        }
    }
}
