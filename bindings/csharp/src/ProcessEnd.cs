using System;
using System.Threading;

namespace HolePunch
{
    /// <summary>
    /// Ends native calls when the process or the application domain does: Mono, and so Unity, waits for them for ever.
    /// </summary>
    internal static class ProcessEnd
    {
        private static readonly CancellationTokenSource source = new CancellationTokenSource();

        static ProcessEnd()
        {
            AppDomain.CurrentDomain.ProcessExit += (sender, e) => source.Cancel();
            AppDomain.CurrentDomain.DomainUnload += (sender, e) => source.Cancel();
        }

        internal static CancellationToken Token => source.Token;
    }
}
