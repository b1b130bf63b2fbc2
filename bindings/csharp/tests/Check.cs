using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    internal sealed class FailedException : Exception
    {
        internal FailedException(string message) : base(message)
        {
        }
    }

    /// <summary>What tests claim.</summary>
    internal static class Check
    {
        internal static void True(bool claim, string what)
        {
            if (!claim)
                throw new FailedException(what);
        }

        internal static void Equal<T>(T expected, T actual, string what = "value")
        {
            if (!EqualityComparer<T>.Default.Equals(expected, actual))
                throw new FailedException(what + ": expected " + expected + ", got " + actual);
        }

        internal static void SameItems<T>(IEnumerable<T> expected, IEnumerable<T> actual, string what)
        {
            string missing = string.Join(", ", expected.Except(actual)), surplus = string.Join(", ", actual.Except(expected));
            if (missing != "" || surplus != "")
                throw new FailedException(what + ": missing [" + missing + "], surplus [" + surplus + "]");
        }

        internal static void Contains(string part, string text)
        {
            if (text == null || !text.Contains(part))
                throw new FailedException("no '" + part + "' in: " + text);
        }

        /// <summary>Exactly this exception, not a kind of it.</summary>
        internal static T Throws<T>(Action action) where T : Exception
        {
            try
            {
                action();
            }
            catch (Exception error)
            {
                if (error.GetType() == typeof(T))
                    return (T)error;
                throw new FailedException("expected " + typeof(T).Name + ", got " + error);
            }
            throw new FailedException("expected " + typeof(T).Name + ", got nothing");
        }

        internal static T Throws<T>(Task task) where T : Exception
        {
            return Throws<T>(() => task.GetAwaiter().GetResult());
        }

        internal static HolePunchException Fails(HolePunchError code, Action action)
        {
            var error = Throws<HolePunchException>(action);
            Equal(code, error.Code, "code of: " + error.Message);
            return error;
        }

        internal static HolePunchException Fails(HolePunchError code, Task task)
        {
            return Fails(code, () => task.GetAwaiter().GetResult());
        }

        internal static void Eventually(string what, Func<bool> condition)
        {
            Stopwatch waited = Stopwatch.StartNew();
            while (!condition())
            {
                True(waited.Elapsed < TimeSpan.FromSeconds(10), "within 10 s: " + what);
                Thread.Sleep(1);
            }
        }

        /// <summary>Others use the machine, too: of a few attempts one must be quick enough.</summary>
        internal static void Within(int milliseconds, Func<TimeSpan> attempt)
        {
            var took = new List<TimeSpan>();
            for (int i = 0; i < 3; i++)
            {
                took.Add(attempt());
                if (took[i].TotalMilliseconds <= milliseconds)
                    return;
            }
            throw new FailedException("took " + string.Join(", ", took) + ", not within " + milliseconds + " ms");
        }
    }
}
