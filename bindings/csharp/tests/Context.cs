using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;

namespace HolePunch.Tests
{
    /// <summary>A thread's own context, such as that of a user interface.</summary>
    internal sealed class Context : SynchronizationContext
    {
        private readonly Queue<Action> posted = new Queue<Action>();

        public override void Post(SendOrPostCallback callback, object state)
        {
            lock (posted)
            {
                posted.Enqueue(() => callback(state));
                Monitor.Pulse(posted);
            }
        }

        internal int Count
        {
            get
            {
                lock (posted)
                    return posted.Count;
            }
        }

        /// <summary>Runs what is posted until something holds.</summary>
        internal void RunUntil(Func<bool> condition)
        {
            Stopwatch waited = Stopwatch.StartNew();
            while (!condition())
            {
                Check.True(waited.Elapsed < Sessions.Patience, "it comes to it");
                Action next = null;
                lock (posted)
                {
                    if (posted.Count > 0 || Monitor.Wait(posted, 100))
                        next = posted.Dequeue();
                }
                next?.Invoke();
            }
        }
    }
}
