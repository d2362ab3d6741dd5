using Crstore.Linux;

namespace Crstore.Capture.Freezing;

/// <summary>Work that several threads can do at once.</summary>
public interface ICrewWork
{
    /// <summary>More may come: a thread that finds nothing to do waits for it without sleeping.</summary>
    bool MayGrow { get; }

    /// <summary>Takes a piece and does it; false if there is none at the moment. Never throws.</summary>
    bool TryWork();
}

/// <summary>
/// Threads that help the freezing one: the processors of the frozen target have nothing else to do. They sleep while there is no
/// work, above all while system calls are injected: the target's threads need the processors then. None may call ptrace(2): that
/// belongs to the freezing thread.
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
    private readonly int[] _tids;
    private readonly byte[] _allowed = CpuAffinity.Get(ThisProcess.ThreadId());
    private readonly byte[] _mask;
    private volatile ICrewWork? _work;
    private volatile bool _disposed;
    private int _keptFree = -1;
    private int _started;
    private int _busy;

    /// <summary>Starts the threads, which sleep until <see cref="Begin"/>.</summary>
    /// <param name="threads">How many; null: one per processor but the caller's own, up to <see cref="MaxThreads"/>.</param>
    public FreezeCrew(int? threads = null)
    {
        _mask = new byte[_allowed.Length];
        _threads = new Thread[threads ?? Math.Clamp(Environment.ProcessorCount - 1, 0, MaxThreads)];
        _tids = new int[_threads.Length];
        for (var i = 0; i < _threads.Length; i++)
        {
            var number = i;
            _threads[i] = new Thread(() => Live(number)) { IsBackground = true, Name = "freeze crew" };
            _threads[i].Start();
        }

        var spin = new SpinWait();
        while (Volatile.Read(ref _started) < _threads.Length) spin.SpinOnce();
    }

    /// <summary>Gives the threads some work and wakes them. Where there are none, whoever gives it does all of it.</summary>
    public void Begin(ICrewWork work)
    {
        _work = work;
        if (_threads.Length == 0) return;
        KeepFree(ThisProcess.CurrentCpu());
        _go.Release(_threads.Length);
    }

    /// <summary>Returns when no thread is at work any more. On every path, before any memory that they may write to is given back.</summary>
    public void End()
    {
        _work = null;
        Interlocked.MemoryBarrier(); // or a thread that is getting busy could still see the work, and not be seen
        var spin = new SpinWait();
        while (Volatile.Read(ref _busy) > 0) spin.SpinOnce(SpinsBeforeSleep);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        End();
        _disposed = true;
        if (_threads.Length > 0) _go.Release(_threads.Length);
        foreach (var thread in _threads) thread.Join();
        _go.Dispose();
    }

    // The scheduler may wake a thread on the processor of its waker, to pull it off some milliseconds later: the freeze is over by then.
    private void KeepFree(int cpu)
    {
        if (cpu == _keptFree) return;
        _keptFree = cpu;
        _allowed.CopyTo(_mask, 0);
        if (cpu >> 3 < _mask.Length) _mask[cpu >> 3] &= (byte)~(1 << (cpu & 7));
        foreach (var tid in _tids) CpuAffinity.TrySet(tid, _mask); // refused if no other processor is allowed: then not
    }

    private void Live(int number)
    {
        _tids[number] = ThisProcess.ThreadId();
        Interlocked.Increment(ref _started);
        while (true)
        {
            _go.Wait();
            if (_disposed) return;
            var spin = new SpinWait();
            while (_work is { } work)
            {
                if (TryWork(work)) spin = new SpinWait();
                else if (work.MayGrow) spin.SpinOnce(SpinsBeforeSleep);
                else break;
            }
        }
    }

    private bool TryWork(ICrewWork work)
    {
        Interlocked.Increment(ref _busy);
        // Looked at again: End may have seen nobody busy in between.
        var done = ReferenceEquals(_work, work) && work.TryWork();
        Interlocked.Decrement(ref _busy);
        return done;
    }
}
