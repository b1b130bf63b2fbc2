using System;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch
{
    /// <summary>Raises .NET's events.</summary>
    internal static class Raising
    {
        /// <summary>
        /// Calls in a context what raises the next event, when the handlers of the one before have returned, until there is
        /// null or the object is disposed.
        /// </summary>
        internal static async void All(SynchronizationContext context, Func<Task<Action>> next)
        {
            try
            {
                Action raise;
                while ((raise = await next().ConfigureAwait(false)) != null)
                    await RaiseIn(context, raise).ConfigureAwait(false);
            }
            catch (ObjectDisposedException)
            {
            }
        }

        // Ends when the handlers have returned.
        private static Task RaiseIn(SynchronizationContext context, Action raise)
        {
            var raised = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
            context.Post(_ =>
            {
                try
                {
                    raise();
                }
                finally
                {
                    raised.SetResult(true);
                }
            }, null);
            return raised.Task;
        }
    }
}
