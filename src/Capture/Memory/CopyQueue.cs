using Crstore.Capture.Freezing;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// Pages to be copied from a frozen process, in batches that several threads take. The freezing thread adds runs of pages and
/// takes its share; the crew begins as soon as the first batch is full. Results are seen after <see cref="Complete"/>.
/// Nothing is allocated between <see cref="Begin"/> and <see cref="Complete"/>.
/// </summary>
public sealed class CopyQueue : ICrewWork
{
    private const int MaxBatches = 4096;
    private const int SpansPerBatch = 64; // some 130 us of scattered pages: at the end one thread waits for the other's
    private const int BytesPerBatch = 1 << 19;

    private readonly RemoteSpan[] _spans = new RemoteSpan[MaxBatches / 4 * SpansPerBatch];
    private readonly CopyBatch[] _batches = new CopyBatch[MaxBatches];
    private int _pid;
    private int _spansUsed;
    private int _open;      // batches begun; the last one may still grow
    private int _published; // batches that may be taken
    private int _next;      // the next one to take
    private int _done;      // batches finished

    /// <summary>An empty queue. Its memory is touched now, so that it isn't faulted in during the freeze.</summary>
    public CopyQueue()
    {
        Array.Clear(_spans);
        Array.Clear(_batches);
    }

    /// <summary>The batches of this round; complete after <see cref="Complete"/>.</summary>
    public ReadOnlySpan<CopyBatch> Batches => _batches.AsSpan(0, _open);

    /// <summary>The pages of a batch, in order.</summary>
    public ReadOnlySpan<RemoteSpan> SpansOf(in CopyBatch batch) => _spans.AsSpan(batch.FirstSpan, batch.Spans);

    /// <summary>Starts anew, for a process.</summary>
    public void Begin(int pid)
    {
        _pid = pid;
        Reset();
    }

    /// <summary>Adds consecutive pages. May take fewer than given, or none: <see cref="Complete"/> and <see cref="Reset"/> first.</summary>
    /// <param name="first">First page.</param>
    /// <param name="pages">How many.</param>
    /// <param name="place">Where to.</param>
    /// <returns>Pages taken.</returns>
    public int Add(VirtualPage first, int pages, in BufferPlace place)
    {
        var taken = 0;
        while (taken < pages)
        {
            var offset = place.Offset + taken * VirtualPage.Size;
            ref var batch = ref _batches[Math.Max(0, _open - 1)];
            var fits = _open > _published && ReferenceEquals(batch.Segment, place.Segment) && batch.Offset + batch.Bytes == offset
                && batch.Bytes < BytesPerBatch && batch.Spans < SpansPerBatch;
            if (!fits)
            {
                Volatile.Write(ref _published, _open);
                if (_open == MaxBatches || _spansUsed == _spans.Length) return taken;
                batch = ref _batches[_open++];
                batch = new CopyBatch { FirstSpan = _spansUsed, Segment = place.Segment, Offset = offset };
            }
            else if (_spansUsed == _spans.Length)
            {
                return taken;
            }

            var now = Math.Min(pages - taken, (BytesPerBatch - batch.Bytes) / VirtualPage.Size);
            _spans[_spansUsed++] = new RemoteSpan((first + (ulong)taken).Address, (ulong)now * VirtualPage.Size);
            batch.Spans++;
            batch.Bytes += now * VirtualPage.Size;
            taken += now;
        }

        return taken;
    }

    /// <summary>Copies with the others until all is done.</summary>
    /// <param name="ask">Asked before every batch of our own; may throw.</param>
    public void Complete(Action? ask)
    {
        Volatile.Write(ref _published, _open);
        while (true)
        {
            ask?.Invoke();
            if (!TryWork()) break;
        }

        var spin = new CrewSpin();
        while (Volatile.Read(ref _done) < _open)
        {
            ask?.Invoke(); // another thread may be stuck in its batch
            spin.Once();
        }
    }

    /// <summary>Forgets the batches, all of which are done.</summary>
    public void Reset()
    {
        _published = 0;
        _open = 0;
        _spansUsed = 0;
        _done = 0;
        Volatile.Write(ref _next, 0);
    }

    /// <inheritdoc/>
    public bool MayGrow => true;

    /// <inheritdoc/>
    public bool TryWork()
    {
        while (true)
        {
            var mine = Volatile.Read(ref _next);
            if (mine >= Volatile.Read(ref _published)) return false;
            if (Interlocked.CompareExchange(ref _next, mine + 1, mine) != mine) continue;
            ref var batch = ref _batches[mine];
            batch.Result = RemoteMemory.TryRead(_pid, SpansOf(batch), batch.Segment.GetSpan().Slice(batch.Offset, batch.Bytes));
            Interlocked.Increment(ref _done);
            return true;
        }
    }
}

/// <summary>A place for pages in native memory.</summary>
/// <param name="Segment">The memory.</param>
/// <param name="Offset">Bytes from its start.</param>
public readonly record struct BufferPlace(MappedMemory Segment, int Offset);

/// <summary>Pages that are copied by one call.</summary>
public struct CopyBatch
{
    /// <summary>Where its pages are listed, and how many runs of them.</summary>
    internal int FirstSpan, Spans;

    /// <summary>Where to.</summary>
    public MappedMemory Segment;

    /// <summary>Bytes from the start of the segment.</summary>
    public int Offset;

    /// <summary>Bytes wanted.</summary>
    public int Bytes;

    /// <summary>Bytes copied, or -errno.</summary>
    public long Result;
}
