#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch
{
    /// <summary>What comes one after the other, until null does: C# 7.2 does not write it by itself.</summary>
    internal sealed class AsyncSequence<T> : IAsyncEnumerable<T>, IAsyncEnumerator<T> where T : class
    {
        private readonly Func<CancellationToken, Task<T>> next;
        private readonly CancellationToken token;

        internal AsyncSequence(Func<CancellationToken, Task<T>> next, CancellationToken token)
        {
            this.next = next;
            this.token = token;
        }

        public T Current { get; private set; }

        // The loop's token counts if it has one.
        public IAsyncEnumerator<T> GetAsyncEnumerator(CancellationToken cancellationToken)
        {
            return new AsyncSequence<T>(next, cancellationToken.CanBeCanceled ? cancellationToken : token);
        }

        public ValueTask<bool> MoveNextAsync()
        {
            return new ValueTask<bool>(MoveNext());
        }

        private async Task<bool> MoveNext()
        {
            Current = await next(token).ConfigureAwait(false);
            return Current != null;
        }

        public ValueTask DisposeAsync()
        {
            return default(ValueTask);
        }
    }
}
#endif
