using System;
using System.Text.RegularExpressions;

namespace HolePunch.Tests
{
    /// <summary>The example program for connections from addresses.</summary>
    internal static class AddressesTests
    {
        private static Program Addresses(params string[] arguments)
        {
            return Program.Ours("Addresses.exe", arguments);
        }

        /// <summary>What a program has said, as soon as it has.</summary>
        private static string Said(Program program, string pattern)
        {
            Match match = null;
            Check.Eventually(pattern + " in " + program.Output + program.Errors, () =>
                (match = Regex.Match(program.Output, "^" + pattern + "$", RegexOptions.Multiline)).Success);
            return match.Groups[1].Value;
        }

        private static void Talk(Program a, Program b)
        {
            string ofA = Said(a, "local (.*)"), ofB = Said(b, "local (.*)");
            a.Say(ofB);
            b.Say(" " + ofA.Replace(",", " , "));
            Said(a, @"connected (\S+:\d+)");
            Said(b, @"connected (\S+:\d+)");
            foreach (Program from in new[] { a, b })
            {
                from.Say("grüße 漢字");
                from.Say("and more");
                Said(from == a ? b : a, "peer: grüße 漢字\npeer: and more");
            }
            a.EndInput();
            Check.Equal(0, a.Wait(), "exit status: " + a.Errors);
            Check.Equal("", a.Errors);
            Check.True(!a.Output.Contains("closed"), a.Output);
        }

        [Test(Limit = 60)]
        private static void Two_talk_over_each_transport_until_one_closes()
        {
            using (var stun = new StunServer())
            {
                foreach (string transport in new[] { "--tcp", "--udp" })
                {
                    using (Program a = Addresses(transport, "--id", "an ID", "--stun", stun.Address),
                        b = Addresses("--id", "an ID", transport))
                    {
                        Talk(a, b);
                        Check.True(Regex.IsMatch(a.Output, @"^public 127\.0\.0\.1:\d+$", RegexOptions.Multiline), a.Output);
                        Said(b, "closed");
                        Check.Equal(0, b.Wait(), "exit status: " + b.Errors);
                    }
                }
            }
        }

        [Test(Limit = 60)]
        private static void Without_an_ID_it_talks_to_whoever_is_there()
        {
            using (var service = new Service())
            using (Program a = Addresses("--udp", "--unauthenticated", "--server", service.Address),
                b = Addresses("--udp", "--unauthenticated"))
            {
                Talk(a, b);
                Check.Contains("\npublic 127.0.0.1:", a.Output);
            }
        }

        [Test(Limit = 60)]
        private static void It_says_what_fails()
        {
            using (Program nobody = Addresses("--udp", "--id", "an ID"), nonsense = Addresses("--tcp", "--id", "x"),
                silent = Addresses("--tcp", "--stun", AddressPair.Nowhere()[0].ToString(), "--id", "x"),
                end = Addresses("--tcp", "--id", "x"))
            {
                nobody.Say(AddressPair.Nowhere()[0].ToString());
                nonsense.Say("nowhere");
                end.EndInput();
                silent.EndInput();
                Check.Equal(1, nobody.Wait(), "exit status");
                Check.True(Regex.IsMatch(nobody.Errors, @"\Aaddresses: .+\z"), nobody.Errors);
                Check.Equal(1, nonsense.Wait(), "exit status");
                Check.Equal("addresses: not ADDRESS:PORT: nowhere", nonsense.Errors);
                Check.Equal(0, end.Wait(), "exit status: " + end.Errors);
                Check.Equal(0, silent.Wait(), "exit status: " + silent.Errors);
                Check.Contains("addresses: our public address: ", silent.Errors);
            }
        }

        [Test(Limit = 60)]
        private static void Wrong_usage_of_it_is_told()
        {
            string[] wrongs = { "", "--tcp", "--id x", "--tcp --id", "--tcp --id x --unauthenticated", "--what --tcp --id x" };
            foreach (string wrong in wrongs)
            {
                using (Program program = Addresses(wrong.Split(new[] { ' ' }, StringSplitOptions.RemoveEmptyEntries)))
                {
                    Check.Equal(2, program.Wait(), "exit status of " + wrong);
                    Check.True(program.Output == "" && program.Errors.StartsWith("usage: addresses "), program.Errors);
                }
            }
        }
    }
}
