using System;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class HolePunchClient
    {
        private unsafe delegate hp_status NativeCall(hp_error* detail);

        private T Run<T>(Func<T> work, CancellationToken token)
        {
            Enter(token);
            try
            {
                return work();
            }
            finally
            {
                turn.Release();
            }
        }

        private async Task<T> RunAsync<T>(Func<T> work, CancellationToken token)
        {
            await EnterAsync(token).ConfigureAwait(false);
            try
            {
                // A thread of its own: the call may take minutes, which the thread pool is not made for.
                return await Task.Factory.StartNew(work, CancellationToken.None,
                    TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default)
                    .ConfigureAwait(false);
            }
            finally
            {
                turn.Release();
            }
        }

        // A call that blocks, in its turn, with all that ends it before its time.
        private unsafe hp_status Call(NativeCall call, hp_error* detail, CancellationToken token)
        {
            Interop.Check(NativeMethods.hp_client_set_timeout_ms(handle, Interop.Milliseconds(Timeout)));
            hp_status status;
            using (var cancelled = CancellationTokenSource.CreateLinkedTokenSource(token, closing.Token, ProcessEnd.Token))
            {
                lock (gate)
                    running = cancelled;
                try
                {
                    using (cancelled.Token.Register(() => NativeMethods.hp_cancel(handle)))
                        status = call(detail);
                }
                finally
                {
                    lock (gate)
                        running = null;
                }
            }
            // The call may have ended just before it was cancelled.
            NativeMethods.hp_cancel_clear(handle);
            return status;
        }
    }
}
