using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;

namespace HolePunch.Tests
{
    internal static class LogTests
    {
        /// <summary>Has the library say something at every level.</summary>
        private static void Meet()
        {
            using (var service = new Service())
            using (service.Meet())
            {
            }
        }

        private static void WithHandler(LogLevel level, LogHandler handler, Action action)
        {
            HolePunchLog.SetHandler(level, handler);
            try
            {
                action();
            }
            finally
            {
                HolePunchLog.SetHandler(level, null);
            }
        }

        [Test]
        private static void Lines_come_up_to_their_level()
        {
            foreach (LogLevel level in new[] { LogLevel.Information, LogLevel.Trace })
            {
                var levels = new HashSet<LogLevel>();
                WithHandler(level, (lineLevel, source, message) =>
                {
                    if (source.StartsWith("holepunch") && message != "")
                        levels.Add(lineLevel);
                }, Meet);
                Check.True(levels.Count > 0 && levels.All(each => each <= level), string.Join(", ", levels));
                Check.Equal(level == LogLevel.Trace, levels.Contains(LogLevel.Debug), "details");
            }
        }

        [Test]
        private static void Exceptions_in_a_handler_do_not_cross()
        {
            int lines = 0;
            WithHandler(LogLevel.Trace, (level, source, message) =>
            {
                lines++;
                throw new InvalidOperationException("the handler's own");
            }, Meet);
            Check.True(lines > 1, lines + " lines");
        }

        [Test]
        private static void A_handler_cannot_be_changed_from_within()
        {
            HolePunchException error = null;
            WithHandler(LogLevel.Trace, (level, source, message) =>
            {
                try
                {
                    HolePunchLog.SetHandler(LogLevel.Error, (a, b, c) => { });
                }
                catch (HolePunchException refusal)
                {
                    error = refusal;
                }
            }, Meet);
            Check.True(error != null, "it is refused");
            Check.Equal(HolePunchError.Unsupported, error.Code);
        }

        [Test]
        private static void Handlers_are_kept_while_they_are_needed_and_no_longer()
        {
            var kept = new List<WeakReference>();
            for (int i = 0; i < 10; i++)
                Install(kept);
            Collect();
            Check.True(kept.Last().IsAlive, "the last one is kept");
            Meet();
            HolePunchLog.SetHandler(LogLevel.Error, null);
            // The collector looks at the stack conservatively, where one may be seen.
            Check.Eventually("they are collected", () => Collect() && kept.Count(each => each.IsAlive) <= 1);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Install(List<WeakReference> kept)
        {
            var lines = new List<string>();
            kept.Add(new WeakReference(lines));
            HolePunchLog.SetHandler(LogLevel.Trace, (level, source, message) => lines.Add(message));
        }

        private static bool Collect()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            return true;
        }

        [Test]
        private static void Levels_are_checked()
        {
            LogHandler handler = (level, source, message) => { };
            foreach (int level in new[] { -1, 0, 6 })
                Check.Throws<ArgumentOutOfRangeException>(() => HolePunchLog.SetHandler((LogLevel)level, handler));
        }
    }
}
