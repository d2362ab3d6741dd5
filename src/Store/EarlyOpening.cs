using Crstore.Model;

namespace Crstore.Store;

/// <summary>
/// Takes a store's write lock and opens it on a thread of its own: that is some ten syncs one behind the other, which leave the processors to what has to be
/// done before the commit anyway. Ends the opening, and what it has opened, unless <see cref="Await"/> has given it away.
/// </summary>
internal sealed class EarlyOpening : IDisposable
{
    private readonly CancellationTokenSource abandoned;
    private readonly TaskCompletionSource locked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task<WriteAccess> opening;
    private bool given;

    private EarlyOpening(CheckpointStore store, string verb, Action onLocked)
    {
        abandoned = CancellationTokenSource.CreateLinkedTokenSource(store.Options.Cancel);
        // Not on the pool: its threads compress, and who waits for a lock would keep one of them for as long.
        opening = Task.Factory.StartNew(Open, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

        WriteAccess Open()
        {
            try
            {
                return WriteAccess.Take(store, verb, toFree: false, abandoned.Token, () =>
                {
                    onLocked();
                    locked.TrySetResult();
                });
            }
            finally
            {
                locked.TrySetResult(); // or never
            }
        }
    }

    /// <summary>Begins.</summary>
    /// <param name="store">Which.</param>
    /// <param name="verb">What for, for those who wait.</param>
    /// <param name="onLocked">Called with the lock just taken, on the other thread.</param>
    public static EarlyOpening Begin(CheckpointStore store, string verb, Action onLocked) => new(store, verb, onLocked);

    /// <summary>Waits until it is open, and gives it to the caller.</summary>
    /// <param name="clock">Told what for.</param>
    /// <exception cref="StoreBusyException">The lock could not be had in time.</exception>
    public WriteAccess Await(PhaseClock clock)
    {
        clock.Enter("write lock");
        locked.Task.Wait();
        clock.Enter("open to write");
        var access = opening.GetAwaiter().GetResult();
        given = true;
        return access;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        abandoned.Cancel();
        Task.WaitAny(opening);
        if (!given && opening.IsCompletedSuccessfully) opening.Result.Dispose();
        _ = opening.Exception; // seen: whoever gives up has an error of its own
        abandoned.Dispose();
    }
}
