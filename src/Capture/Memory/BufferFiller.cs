using Crstore.Linux;
using Crstore.Linux.Memory;

namespace Crstore.Capture.Memory;

/// <summary>
/// Faults memory in, on several threads and ahead of its use. Huge pages cost a fifth of small ones where the machine has them
/// ready. In a virtual machine whose balloon gives free memory back to the host (free page reporting), they do not: it is the
/// free blocks of 2 MiB and more that are gone, and each has to be fetched again (measured: 2.7 s a GiB, small pages 0.45 s,
/// huge ones that were not given back 0.09 s). So it goes by the CPU time that a piece took.
/// </summary>
internal sealed class BufferFiller : IDisposable
{
    private const int PieceBytes = 2 << 20;
    private const int StepBytes = 512 << 10;
    private const int MostThreads = 4;
    private static readonly TimeSpan SlowHugePiece = TimeSpan.FromMilliseconds(1.25);
    private static readonly TimeSpan SlowSmallPiece = TimeSpan.FromMilliseconds(2.5);
    private readonly Queue<(MappedMemory Segment, int Offset, int SizeBytes)> _pieces = [];
    private readonly List<Thread> _threads = [];
    private volatile bool _alone; // the caller waits for us
    private int _slowHuge;
    private int _slowSmall;

    /// <summary>Adds a segment to what is to be filled.</summary>
    public void Add(MappedMemory segment)
    {
        lock (_pieces)
            for (var offset = 0; offset < segment.SizeBytes; offset += PieceBytes)
                _pieces.Enqueue((segment, offset, Math.Min(PieceBytes, segment.SizeBytes - offset)));
    }

    /// <summary>Begins with one thread, beside whatever the caller does next. On a single CPU nothing is gained by that.</summary>
    public void Begin()
    {
        _alone = false;
        if (Environment.ProcessorCount > 1) StartThread();
    }

    /// <summary>Returns when everything is filled.</summary>
    public void Finish()
    {
        int left;
        _alone = true;
        lock (_pieces) left = _pieces.Count;
        var threads = Math.Min(Math.Min(MostThreads, Environment.ProcessorCount), left);
        while (_threads.Count < threads - 1) StartThread();
        FillAll();
        Join();
    }

    /// <summary>Stops soon, wherever it is.</summary>
    public void Dispose()
    {
        lock (_pieces) _pieces.Clear();
        Join();
    }

    private void StartThread()
    {
        var thread = new Thread(FillAll) { IsBackground = true, Name = "crstore buffer" };
        _threads.Add(thread);
        thread.Start();
    }

    private void Join()
    {
        foreach (var thread in _threads) thread.Join();
        _threads.Clear();
    }

    private void FillAll()
    {
        while (true)
        {
            (MappedMemory Segment, int Offset, int SizeBytes) piece;
            lock (_pieces)
                if (!_pieces.TryDequeue(out piece))
                    return;
            // If both kinds are slow there is no memory that is at hand: then the fewer faults win.
            var huge = Volatile.Read(ref _slowHuge) == 0 || Volatile.Read(ref _slowSmall) > 1;
            if (!huge) piece.Segment.PreferHuge(piece.Offset, piece.SizeBytes, huge: false);
            var before = ThisProcess.ThreadCpuTime();
            var step = huge ? PieceBytes : StepBytes;
            for (var done = 0; done < piece.SizeBytes; done += step)
            {
                piece.Segment.Populate(piece.Offset + done, Math.Min(step, piece.SizeBytes - done)); // what it can't, faults when it is used
                // Populating holds the lock that the process's every mmap and mprotect wants. Taken again at once, it is kept from
                // them for up to 4 ms each time (RWSEM_WAIT_TIMEOUT, kernel/locking/rwsem.c): the rehearsal took six times as long.
                if (!_alone) Pause.Sleep(50);
            }

            var time = ThisProcess.ThreadCpuTime() - before;
            if (huge && time > SlowHugePiece) Interlocked.Increment(ref _slowHuge);
            else if (!huge && time > SlowSmallPiece) Interlocked.Increment(ref _slowSmall);
        }
    }
}
