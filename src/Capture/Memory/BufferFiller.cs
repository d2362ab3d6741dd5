using System.Diagnostics.CodeAnalysis;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

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
    private const int MostThreads = 4;
    private static readonly TimeSpan SlowHugePiece = TimeSpan.FromMilliseconds(1.25);
    private static readonly TimeSpan SlowSmallPiece = TimeSpan.FromMilliseconds(2.5);
    private readonly Queue<(MappedMemory Segment, int Offset, int SizeBytes)> _pieces = [];
    private readonly List<Thread> _threads = [];
    private volatile bool _alone; // the caller waits for us
    private MappedMemory? _advised; // the segment that pieces are taken from, and what is asked for in the rest of it
    private bool _advisedHuge;
    private int _slowHuge;
    private int _slowSmall;

    /// <summary>Adds a segment to what is to be filled.</summary>
    public void Add(MappedMemory segment) => Add(segment, segment.SizeBytes);

    /// <summary>Adds the beginning of a segment: so many bytes of it at the least, if it has them.</summary>
    public void Add(MappedMemory segment, long bytes)
    {
        lock (_pieces)
            for (var offset = 0; offset < Math.Min(bytes, segment.SizeBytes); offset += PieceBytes)
                _pieces.Enqueue((segment, offset, Math.Min(PieceBytes, segment.SizeBytes - offset)));
    }

    /// <summary>Begins beside whatever the caller does next. On a single CPU nothing is gained by that.</summary>
    public void Begin()
    {
        _alone = false;
        for (var i = 0; i < Math.Min(MostThreads, Environment.ProcessorCount - 1); i++) StartThread();
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
        while (TryTake(out var segment, out var offset, out var sizeBytes, out var huge))
        {
            var before = ThisProcess.ThreadCpuTime();
            if (_alone) segment.Populate(offset, sizeBytes); // what it can't, faults when it is used
            else Touch(segment, offset, sizeBytes, huge);
            var time = ThisProcess.ThreadCpuTime() - before;
            if (huge && time > SlowHugePiece) Interlocked.Increment(ref _slowHuge);
            else if (!huge && time > SlowSmallPiece) Interlocked.Increment(ref _slowSmall);
        }
    }

    // Populating holds the lock that every mmap and mprotect of the process wants, and taken again at once it is kept from them for
    // up to 4 ms each time (RWSEM_WAIT_TIMEOUT, kernel/locking/rwsem.c): the rehearsal took six times as long. A fault takes the
    // mapping's own lock only (since 6.4), for a quarter more of CPU time.
    private static void Touch(MappedMemory segment, int offset, int sizeBytes, bool huge)
    {
        var memory = segment.GetSpan().Slice(offset, sizeBytes);
        if (huge)
        {
            Volatile.Write(ref memory[0], 0);
            if (segment.IsResident(offset, sizeBytes)) return;
            // The kernel had no huge page, or none is allowed here.
        }

        for (var at = 0; at < sizeBytes; at += VirtualPage.Size) Volatile.Write(ref memory[at], 0);
    }

    private bool TryTake([NotNullWhen(true)] out MappedMemory? segment, out int offset, out int sizeBytes, out bool huge)
    {
        // If both kinds are slow there is no memory that is at hand: then the fewer faults win.
        huge = Volatile.Read(ref _slowHuge) == 0 || Volatile.Read(ref _slowSmall) > 1;
        lock (_pieces)
        {
            var found = _pieces.TryDequeue(out var piece);
            (segment, offset, sizeBytes) = piece;
            if (!found) return false;
            if (segment != _advised) (_advised, _advisedHuge) = (segment, true); // as it was mapped
            if (huge != _advisedHuge) segment!.PreferHuge(offset, segment.SizeBytes - offset, huge);
            _advisedHuge = huge;
            return true;
        }
    }
}
