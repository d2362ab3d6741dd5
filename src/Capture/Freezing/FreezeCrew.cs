namespace Crstore.Capture.Freezing;

/// <summary>Work that several threads can do at once.</summary>
public interface ICrewWork
{
    /// <summary>Takes a piece and does it; false if there is none at the moment. Never throws.</summary>
    bool TryWork();
}

/// <summary>
/// Threads that help the freezing one: the processors of the frozen target have nothing else to do. They sleep outside a freeze, and
/// spin in it (milliseconds), for waking one costs as much as copying a hundred pages. None may call ptrace(2):
/// that belongs to the freezing thread.
/// </summary>
public sealed class FreezeCrew : IDisposable
{
    /// <summary>Most threads: beyond that the memory bus is the limit.</summary>
    public const int MaxThreads = 3;

    /// <summary>How often to spin before sleeping a millisecond at a time: whoever is waited for may need this very processor, and yielding does not
    /// give it away to a thread of lower priority.</summary>
    internal const int SpinsBeforeSleep = 20000;

    private readonly SemaphoreSlim _go = new(0);
    private readonly Thread[] _threads;
    private volatile ICrewWork? _work;
    private volatile bool _alert;
    private volatile bool _disposed;
    private int _awake;
    private int _busy;

    /// <summary>Starts the threads, which sleep until <see cref="Alert"/>.</summary>
    /// <param name="threads">How many; null: one per processor but the caller's own, up to <see cref="MaxThreads"/>.</param>
    public FreezeCrew(int? threads = null)
    {
        _threads = new Thread[threads ?? Math.Clamp(Environment.ProcessorCount - 1, 0, MaxThreads)];
        for (var i = 0; i < _threads.Length; i++)
        {
            _threads[i] = new Thread(Live) { IsBackground = true, Name = "freeze crew" };
            _threads[i].Start();
        }
    }

    /// <summary>How many threads there are; with none, whoever gives the work does all of it.</summary>
    public int Threads => _threads.Length;

    /// <summary>
    /// Wakes the threads, which then wait for work without sleeping until <see cref="Rest"/>: to wake a halted processor of a virtual
    /// machine can take longer than the work. For a freeze, when the target itself has nothing more to run.
    /// </summary>
    public void Alert()
    {
        if (_threads.Length == 0 || _alert) return;
        _alert = true;
        Interlocked.Add(ref _awake, _threads.Length);
        _go.Release(_threads.Length);
    }

    /// <summary>The threads go to sleep.</summary>
    public void Rest()
    {
        End();
        _alert = false;
        var spin = new SpinWait();
        while (Volatile.Read(ref _awake) > 0) spin.SpinOnce(SpinsBeforeSleep);
    }

    /// <summary>Gives the threads some work, waking them if need be.</summary>
    public void Begin(ICrewWork work)
    {
        _work = work;
        Alert();
    }

    /// <summary>Returns when no thread is at work any more. On every path, before any memory that they may write to is given back.</summary>
    public void End()
    {
        _work = null;
        var spin = new SpinWait();
        while (Volatile.Read(ref _busy) > 0) spin.SpinOnce(SpinsBeforeSleep);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Rest();
        _disposed = true;
        if (_threads.Length > 0) _go.Release(_threads.Length);
        foreach (var thread in _threads) thread.Join();
        _go.Dispose();
    }

    private void Live()
    {
        while (true)
        {
            _go.Wait();
            if (_disposed) return;
            var spin = new SpinWait();
            while (_alert)
            {
                if (TryWork()) spin = new SpinWait();
                else spin.SpinOnce(SpinsBeforeSleep);
            }

            Interlocked.Decrement(ref _awake);
        }
    }

    private bool TryWork()
    {
        if (_work is not { } work) return false;
        Interlocked.Increment(ref _busy);
        // Looked at again: End may have seen nobody busy in between.
        var done = ReferenceEquals(_work, work) && work.TryWork();
        Interlocked.Decrement(ref _busy);
        return done;
    }
}
