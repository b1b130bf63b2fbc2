using System;
using System.Linq;
using System.Reflection;
using System.Threading;

namespace HolePunch.Tests
{
    /// <summary>Marks a test: a static method without arguments, whose name says what holds.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    internal sealed class TestAttribute : Attribute
    {
        /// <summary>After how many seconds it has failed.</summary>
        public int Limit { get; set; } = 30;
    }

    /// <summary>Says that a test cannot run here.</summary>
    internal sealed class SkipException : Exception
    {
        internal SkipException(string reason) : base(reason)
        {
        }
    }

    /// <summary>Runs tests and prints a line for each, "ok - name", "not ok - name: why" or "skipped: name: why".</summary>
    internal static class Runner
    {
        private static int failed;

        // Tests.exe ROOT [WORD] runs the tests whose names contain a word; Tests.exe --child NAME is what a test starts.
        private static int Main(string[] args)
        {
            if (args.Length == 2 && args[0] == "--child")
                return Children.Run(args[1]);
            if (args.Length < 1)
            {
                Console.Error.WriteLine("usage: Tests.exe ROOT [WORD]");
                return 2;
            }
            Files.Root = args[0];
            var tests = from type in Assembly.GetExecutingAssembly().GetTypes()
                        from method in type.GetMethods(BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public)
                        let test = method.GetCustomAttribute<TestAttribute>()
                        where test != null && (args.Length < 2 || Name(method).Contains(args[1]))
                        orderby type.Name, method.MetadataToken
                        select new { method, test.Limit };
            foreach (var each in tests.ToArray())
                Run(each.method, each.Limit);
            // Where Main returns, Mono sometimes waits long for an idle thread of its pool.
            Environment.Exit(failed > 0 ? 1 : 0);
            return 0;
        }

        private static string Name(MethodInfo method)
        {
            return method.DeclaringType.Name.Replace("Tests", "") + ": " + method.Name.Replace('_', ' ');
        }

        private static void Run(MethodInfo method, int limit)
        {
            Exception error = null;
            var thread = new Thread(() =>
            {
                try
                {
                    method.Invoke(null, null);
                }
                catch (TargetInvocationException wrapped)
                {
                    error = wrapped.InnerException;
                }
            }) { IsBackground = true };
            thread.Start();
            if (!thread.Join(TimeSpan.FromSeconds(limit)))
                error = new TimeoutException("still running after " + limit + " s");
            if (error == null)
            {
                Console.WriteLine("ok - " + Name(method));
            }
            else if (error is SkipException)
            {
                Console.WriteLine("skipped: " + Name(method) + ": " + error.Message);
            }
            else
            {
                failed++;
                Console.WriteLine("not ok - " + Name(method) + ": " + error.ToString().Replace("\n", "\n    "));
            }
        }
    }
}
