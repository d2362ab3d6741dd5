using System.Globalization;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// Where pages wait between the freeze and the store: native memory, faulted in before the freeze, shared by all processes of
/// a capture. When it is full the caller drains it, still frozen, and goes on: a capture larger than the budget is only slower.
/// </summary>
public sealed class PageBuffer : IDisposable
{
    private const int MinBytes = 1 << 20;
    private const int HugePageBytes = 2 << 20;
    private const int ReleaseBytes = 16 << 20;
    private readonly List<MappedMemory> _segments = [];
    private readonly RunList<BufferedRun> _runs = new(16384);
    private readonly BufferFiller _filler = new();
    private long _budgetBytes;
    private int _segment;
    private int _used;
    private long _lentBytes;
    private MappedMemory? _spare; // was lent in an earlier capture

    /// <summary>A buffer that never grows beyond the budget.</summary>
    /// <param name="budgetBytes">Bytes, at least 1 MiB; null: a quarter of MemAvailable.</param>
    public PageBuffer(long? budgetBytes) => SetBudget(budgetBytes);

    /// <summary>Memory that <see cref="DrainAndRelease"/> keeps for the next capture, if it has no more; and as much of what comes back that was lent.</summary>
    public long KeptBytes { get; init; }

    /// <summary>Before a capture: says what it may grow to, and drops what one that failed has left.</summary>
    /// <param name="budgetBytes">As at its making.</param>
    public void SetBudget(long? budgetBytes)
    {
        var budget = budgetBytes ?? AvailableBytes() / 4;
        _budgetBytes = Math.Max(MinBytes, budget) & ~(VirtualPage.Size - 1L);
        _filler.Dispose();
        Clear();
        if (CapacityBytes > Math.Min(KeptBytes, _budgetBytes)) DropSegments();
    }

    /// <summary>Copies into it, for one process at a time: a megabyte that not each of them should have.</summary>
    public CopyQueue Queue { get; } = new();

    /// <summary>The most it may take.</summary>
    public long BudgetBytes => _budgetBytes;

    /// <summary>Bytes mapped so far.</summary>
    public long CapacityBytes { get; private set; }

    /// <summary>True if nothing waits in it.</summary>
    public bool IsEmpty => _runs.Count == 0;

    /// <summary>
    /// Begins to fault in room for that many bytes, as far as the budget goes, beside what the caller does next.
    /// <see cref="Prepare"/> must follow before anything else.
    /// </summary>
    /// <param name="leastBytes">What will be needed at the least: better too little than too much.</param>
    public void Anticipate(long leastBytes)
    {
        if (leastBytes < MinBytes) return;
        Grow(leastBytes);
        _filler.Begin();
    }

    /// <summary>Faults in room for that many bytes, as far as the budget goes. Before the freeze.</summary>
    public void Prepare(long estimateBytes)
    {
        Grow(Math.Max(MinBytes, estimateBytes));
        _filler.Finish();
    }

    /// <summary>
    /// Room for consecutive pages of one space, in the order in which they will be delivered. May give fewer pages than asked
    /// for; none at all means full: <see cref="Drain"/> first.
    /// </summary>
    /// <param name="writer">Where the pages go at <see cref="Drain"/>.</param>
    /// <param name="range">Pages wanted.</param>
    /// <param name="place">Where to put their content, one page behind the other.</param>
    /// <returns>Pages granted, from the start of the range on.</returns>
    public int Reserve(ISpaceWriter writer, PageRange range, out BufferPlace place)
    {
        place = default;
        while (_segment < _segments.Count && _used == _segments[_segment].SizeBytes)
        {
            _segment++;
            _used = 0;
        }

        if (_segment == _segments.Count)
        {
            var room = Math.Min(_budgetBytes - _lentBytes - CapacityBytes, 64L << 20);
            if (room < VirtualPage.Size) return 0;
            AddSegment(room); // the estimate was too low: faults come as they come
        }

        var pages = (int)Math.Min(range.Count, (ulong)(_segments[_segment].SizeBytes - _used) / VirtualPage.Size);
        place = new BufferPlace(_segments[_segment], _used);
        if (_runs.Count > 0 && _runs[_runs.Count - 1].Follows(writer, range.Start, _segment, _used)) _runs[_runs.Count - 1].Pages += pages;
        else _runs.Add(new BufferedRun { Writer = writer, First = range.Start, Segment = _segment, Offset = _used, Pages = pages });
        _used += pages * VirtualPage.Size;
        return pages;
    }

    /// <summary>Takes out a page that could not be read: its place is skipped at <see cref="Drain"/>.</summary>
    public void Remove(ISpaceWriter writer, VirtualPage page)
    {
        var before = new RunList<BufferedRun>(_runs.Count + 1);
        before.AddRange(_runs);
        _runs.Clear();
        foreach (ref var run in before)
        {
            var at = page.Number - run.First.Number; // wraps around for a page in front of it
            if (run.Writer != writer || at >= (ulong)run.Pages)
            {
                _runs.Add(run);
                continue;
            }

            var skip = (int)at + 1;
            if (at > 0) _runs.Add(run with { Pages = (int)at });
            if (skip < run.Pages) _runs.Add(run with { First = page + 1, Offset = run.Offset + skip * VirtualPage.Size, Pages = run.Pages - skip });
        }
    }

    /// <summary>Hands all content over and is empty again.</summary>
    public void Drain()
    {
        foreach (var run in _runs) Deliver(run, 0, run.Bytes);
        Clear();
    }

    /// <summary>The same after the thaw: gives the memory back as it goes, most of it while the store is still busy compressing.</summary>
    public void DrainAndRelease()
    {
        if (CapacityBytes <= KeptBytes)
        {
            Drain();
            return;
        }

        var (segment, released) = (0, 0);
        foreach (var run in _runs)
        {
            if (run.Segment != segment) (segment, released) = (run.Segment, 0);
            for (var offset = 0; offset < run.Bytes; offset += ReleaseBytes)
            {
                var size = Math.Min(ReleaseBytes, run.Bytes - offset);
                Deliver(run, offset, size);
                var done = (run.Offset + offset + size) & ~(HugePageBytes - 1);
                if (done - released < ReleaseBytes) continue;
                _segments[segment].Release(released, done - released);
                released = done;
            }
        }

        Clear();
        DropSegments();
    }

    /// <summary>Lends memory, a part of the budget, perhaps faulted in already; null once half of that is gone.</summary>
    public MappedMemory? TryLend(int bytes)
    {
        if (_lentBytes + bytes > _budgetBytes / 2) return null;
        if (_spare?.SizeBytes != bytes) DropSpare(); // the budget was another one
        var lent = _spare ?? new MappedMemory(bytes, huge: true);
        _spare = null;
        _lentBytes += bytes;
        return lent;
    }

    /// <summary>Takes back what was lent.</summary>
    public void TakeBack(MappedMemory lent)
    {
        _lentBytes -= lent.SizeBytes;
        if (_spare is null && lent.SizeBytes <= KeptBytes) _spare = lent;
        else ((IDisposable)lent).Dispose();
    }

    /// <summary>Drops all content.</summary>
    public void Clear()
    {
        _runs.Clear();
        _segment = 0;
        _used = 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _filler.Dispose();
        Clear();
        DropSegments();
        DropSpare();
    }

    /// <summary>MemAvailable of /proc/meminfo, proc(5).</summary>
    public static long AvailableBytes()
    {
        foreach (var line in File.ReadLines("/proc/meminfo"))
            if (line.StartsWith("MemAvailable:", StringComparison.Ordinal))
                return long.Parse(line.AsSpan(13).Trim().TrimEnd(" kB"), CultureInfo.InvariantCulture) * 1024;
        throw new InvalidDataException("/proc/meminfo has no MemAvailable line");
    }

    private void Deliver(in BufferedRun run, int offset, int size) =>
        run.Writer.SetContent(run.First + (ulong)(offset / VirtualPage.Size), _segments[run.Segment].Memory.Slice(run.Offset + offset, size));

    private void Grow(long bytes)
    {
        var wanted = Math.Min(_budgetBytes - _lentBytes, bytes);
        while (CapacityBytes < wanted) _filler.Add(AddSegment(wanted - CapacityBytes));
    }

    private MappedMemory AddSegment(long bytes)
    {
        var size = (int)Math.Min(MappedMemory.MaxBytes, (bytes + VirtualPage.Size - 1) & ~(VirtualPage.Size - 1L));
        if (CapacityBytes + size + _lentBytes + _spare?.SizeBytes > _budgetBytes) DropSpare();
        var segment = new MappedMemory(size, huge: true);
        _segments.Add(segment);
        CapacityBytes += size;
        return segment;
    }

    private void DropSegments()
    {
        foreach (var segment in _segments) ((IDisposable)segment).Dispose();
        _segments.Clear();
        CapacityBytes = 0;
    }

    private void DropSpare()
    {
        ((IDisposable?)_spare)?.Dispose();
        _spare = null;
    }

    private struct BufferedRun
    {
        public ISpaceWriter Writer;
        public VirtualPage First;
        public int Segment;
        public int Offset;
        public int Pages;

        public readonly int Bytes => Pages * VirtualPage.Size;

        public readonly bool Follows(ISpaceWriter writer, VirtualPage first, int segment, int offset) =>
            ReferenceEquals(Writer, writer) && Segment == segment && First.Number + (ulong)Pages == first.Number
            && Offset + Pages * VirtualPage.Size == offset;
    }
}
