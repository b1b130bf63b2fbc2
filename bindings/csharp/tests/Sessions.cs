using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Text;

namespace HolePunch.Tests
{
    /// <summary>Sessions of a service, and what happens in them.</summary>
    internal static class Sessions
    {
        internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

        internal static Session Join(this Service service, byte[] id, SessionOptions options = null)
        {
            using (HolePunchClient client = service.Client())
                return client.Join(id, options);
        }

        /// <summary>So many sessions with one ID, all connected.</summary>
        internal static Session[] Join(this Service service, int count)
        {
            byte[] id = Service.NewId();
            Session[] all = Enumerable.Range(0, count).Select(_ => service.Join(id)).ToArray();
            foreach (Session session in all)
            {
                for (int i = 1; i < count; i++)
                    session.Next<SessionEvent.Connected>();
            }
            return all;
        }

        /// <summary>The next event of a kind; those before it are dropped.</summary>
        internal static T Next<T>(this Session session) where T : SessionEvent
        {
            return (T)session.Next(each => each is T);
        }

        /// <summary>The next event that is wanted; those before it are dropped.</summary>
        internal static SessionEvent Next(this Session session, Func<SessionEvent, bool> wanted)
        {
            var seen = new List<string>();
            Stopwatch waited = Stopwatch.StartNew();
            while (waited.Elapsed < Patience)
            {
                SessionEvent next = session.NextEvent(Patience - waited.Elapsed);
                if (next != null && wanted(next))
                    return next;
                seen.Add(next == null ? "nothing" : next.ToString());
            }
            throw new FailedException("only " + string.Join(", ", seen));
        }

        /// <summary>Fetches what has happened so far.</summary>
        internal static void Drain(this Session session)
        {
            while (session.NextEvent(TimeSpan.FromMilliseconds(200)) != null)
            {
            }
        }

        internal static byte[] Bytes(this string text)
        {
            return Encoding.UTF8.GetBytes(text);
        }

        internal static string Text(this SessionEvent.Message message)
        {
            return Encoding.UTF8.GetString(message.Data);
        }

        internal static void Dispose(this IEnumerable<Session> sessions)
        {
            foreach (Session session in sessions)
                session.Dispose();
        }
    }
}
