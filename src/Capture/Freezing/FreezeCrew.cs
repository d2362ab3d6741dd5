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

    private readonly object _gate = new(); // a plain lock: whoever waits at a semaphore spins first, on the target's processor
    private readonly Thread[] _threads;
    private readonly int[] _tids;
    private readonly ICrewWork?[] _at; // what each thread is at
    private readonly byte[] _allowed = CpuAffinity.Get(ThisProcess.ThreadId());
    private readonly byte[] _mask;
    private volatile ICrewWork[] _work = [];
    private volatile bool _disposed;
    private int _keptFree = -1;
    private int _calls; // of the gate
    private int _started;

    /// <summary>Starts the threads, which sleep until <see cref="Begin"/>.</summary>
    /// <param name="threads">How many; null: one per processor but the caller's own, up to <see cref="MaxThreads"/>.</param>
    public FreezeCrew(int? threads = null)
    {
        _mask = new byte[_allowed.Length];
        _threads = new Thread[threads ?? Math.Clamp(Environment.ProcessorCount - 1, 0, MaxThreads)];
        _tids = new int[_threads.Length];
        _at = new ICrewWork?[_threads.Length];
        for (var i = 0; i < _threads.Length; i++)
        {
            var number = i;
            _threads[i] = new Thread(() => Live(number)) { IsBackground = true, Name = "freeze crew" };
            _threads[i].Start();
        }

        var spin = new SpinWait();
        while (Volatile.Read(ref _started) < _threads.Length) spin.SpinOnce();
    }

    /// <summary>Gives the threads some more work, behind what they have, and wakes them. Where there are none, whoever gives it does all of it.</summary>
    public void Begin(ICrewWork work)
    {
        if (_threads.Length == 0) return;
        var more = new ICrewWork[_work.Length + 1];
        Array.Copy(_work, more, _work.Length);
        more[^1] = work;
        _work = more;
        KeepFree(ThisProcess.CurrentCpu());
        Wake();
    }

    /// <summary>Returns when no thread is at that work any more. On every path, before any memory that they may write to is given back.</summary>
    public void End(ICrewWork work)
    {
        _work = Array.FindAll(_work, other => !ReferenceEquals(other, work));
        AwaitNobodyAt(work);
    }

    /// <summary>Returns when no thread is at any work any more.</summary>
    public void End()
    {
        _work = [];
        AwaitNobodyAt(null);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        End();
        _disposed = true;
        Wake();
        foreach (var thread in _threads) thread.Join();
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
        TimeSlice.TrySet(TimeSlice.ShortestNs);
        Interlocked.Increment(ref _started);
        var seen = 0;
        while (Await(ref seen))
        {
            var spin = new CrewSpin();
            while (true)
            {
                if (TryWork(number, out var mayGrow)) spin = new CrewSpin();
                else if (mayGrow) spin.Once();
                else break;
            }
        }
    }

    private void Wake()
    {
        lock (_gate)
        {
            _calls++;
            Monitor.PulseAll(_gate);
        }
    }

    // False at the end.
    private bool Await(ref int seen)
    {
        lock (_gate)
        {
            while (seen == _calls) Monitor.Wait(_gate);
            seen = _calls;
        }

        return !_disposed;
    }

    // The first piece that there is.
    private bool TryWork(int number, out bool mayGrow)
    {
        mayGrow = false;
        var done = false;
        foreach (var work in _work)
        {
            Volatile.Write(ref _at[number], work);
            Interlocked.MemoryBarrier();
            // Looked at again: End may have seen nobody at it before.
            if (Array.IndexOf(_work, work) >= 0)
            {
                done = work.TryWork();
                mayGrow |= work.MayGrow;
            }

            Volatile.Write(ref _at[number], null);
            if (done) break;
        }

        return done;
    }

    private void AwaitNobodyAt(ICrewWork? work)
    {
        Interlocked.MemoryBarrier(); // or a thread that is about to begin could still see the work, and not be seen
        for (var i = 0; i < _at.Length; i++)
        {
            var spin = new CrewSpin();
            while (Volatile.Read(ref _at[i]) is { } at && (work is null || ReferenceEquals(at, work))) spin.Once();
        }
    }
}
