using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// Finds the pages of a frozen process that are not in memory, on a thread of the crew, while the freezing thread reads the state.
/// With what was written this tells all of every page: the rest is clean and in memory. The kernel skips a page that doesn't match
/// in 3 ns and reports one that does in 13 (6.18), and nearly all of a large process is in memory and clean: so two walks that
/// report little are cheaper than one that reports everything. Of <see cref="SolidMemory"/> one page in 512 is looked at.
/// </summary>
public sealed class AwayWalk : IDisposable
{
    private const PageCategories Populated = PageCategories.Present | PageCategories.Swapped;
    private const ulong PagesAtATime = 8192; // some 30 us: for as long as a walk takes the target can map nothing, which injected calls do meanwhile
    private readonly RunList<PageRange> _ranges = new(512);
    private readonly RunList<PageRun> _away = new(4096);
    private readonly RunList<PageRange> _proved = new(256);
    private readonly ulong[] _addresses = new ulong[256];
    private readonly int[] _places = new int[256];
    private readonly CrewJob _job;
    private SolidMemory? _solid;
    private PagemapScanScanner? _scanner;
    private int _pid;
    private int _cursor;
    private int _solidCursor;
    private int _provedCursor;

    /// <summary>Nothing is looked at yet.</summary>
    public AwayWalk()
    {
        _job = new CrewJob(Walk);
        Array.Clear(_addresses); // touched now, not in the freeze
        Array.Clear(_places);
    }

    /// <summary>Before the freeze: looks at one page table, so that the way is not gone for the first time in the freeze.</summary>
    public void TryOut(int pid, SolidMemory solid)
    {
        if (solid.Ranges.Count == 0) return;
        (_pid, _solid, _solidCursor) = (pid, solid, 0);
        using (_scanner = new PagemapScanScanner(pid, KernelProbes.Current.PagemapScanCategories))
            LookAtBlocks(NextSolid(new PageRange(solid.Ranges[0].Start, SolidMemory.BlockPages)));
        _ = Next(solid.Ranges[0].Start, solid.Ranges[0].End, out _);
    }

    /// <summary>Offers the walk over the memory of a process that a tracker may vouch for.</summary>
    /// <param name="pid">Process.</param>
    /// <param name="vmas">Its mappings as of the freeze, in address order.</param>
    /// <param name="crew">Who takes it, unless <see cref="Complete"/> comes first.</param>
    /// <param name="solid">What was all there before the freeze; null: nothing is known. Only where <see cref="KernelProbes.FastScanTellsDropped"/>.</param>
    public void Begin(int pid, IReadOnlyList<PlannedVma> vmas, FreezeCrew crew, SolidMemory? solid = null)
    {
        Dispose();
        (_pid, _solid) = (pid, solid);
        _proved.Clear();
        _solidCursor = _provedCursor = 0;
        _scanner = new PagemapScanScanner(pid, KernelProbes.Current.PagemapScanCategories);
        _ranges.Clear();
        foreach (var vma in vmas)
            if (Covers(vma)) _ranges.Add(vma.Range);
        _away.Clear();
        _cursor = 0;
        _job.Offer(crew);
    }

    /// <summary>True if the walk goes over this mapping.</summary>
    public static bool Covers(PlannedVma vma) => vma.Trackable && vma.File is null;

    /// <summary>Does the walk if nobody has taken it, or waits until it is done.</summary>
    /// <exception cref="LinuxException">The process is gone.</exception>
    public void Complete() => _job.Complete();

    /// <summary>How far the memory from here on is to be scanned alike; best asked in ascending order.</summary>
    /// <param name="at">From here on.</param>
    /// <param name="end">Not beyond.</param>
    /// <param name="solid">
    /// It has its page tables, and had all of its pages before the freeze: to be scanned by <see cref="PagemapScanScanner.TryScanWrittenOfPresent"/>, which reports what is missing.
    /// </param>
    /// <returns>The first page behind it.</returns>
    public VirtualPage Next(VirtualPage at, VirtualPage end, out bool solid)
    {
        while (_provedCursor > 0 && _proved[_provedCursor - 1].End.Number > at.Number) _provedCursor--;
        while (_provedCursor < _proved.Count && _proved[_provedCursor].End.Number <= at.Number) _provedCursor++;
        solid = _provedCursor < _proved.Count && _proved[_provedCursor].Contains(at);
        if (_provedCursor == _proved.Count) return end;
        var change = solid ? _proved[_provedCursor].End : _proved[_provedCursor].Start;
        return change.Number < end.Number ? change : end;
    }

    /// <summary>True if every page of a range was in memory, and none the zero page, or is <see cref="Next">solid</see>; best asked in ascending order.</summary>
    public bool IsOwnMemory(PageRange range)
    {
        Seek(range.Start);
        return _cursor == _away.Count || _away[_cursor].Range.Start.Number >= range.End.Number;
    }

    /// <summary>
    /// Appends the populated pages of a range with what is known of them. Of a clean page that is in memory only that is told, not
    /// whether it is the zero page: it is what it was when it was protected.
    /// </summary>
    /// <param name="range">Within a mapping that is covered; best in ascending order.</param>
    /// <param name="written">What was written in it: found later than what is away, so it counts for its pages.</param>
    /// <param name="runs">Appended to.</param>
    public void Merge(PageRange range, RunList<PageRun> written, RunList<PageRun> runs)
    {
        Seek(range.Start);
        var next = 0;
        for (var at = range.Start; at.Number < range.End.Number;)
        {
            var end = range.End;
            if (next < written.Count)
            {
                ref readonly var run = ref written[next];
                if (run.Range.Start.Number <= at.Number)
                {
                    RunBuilder.Append(runs, run.Range, run.Flags);
                    at = run.Range.End;
                    next++;
                    continue;
                }

                end = run.Range.Start;
            }

            while (_cursor < _away.Count && _away[_cursor].Range.End.Number <= at.Number) _cursor++;
            var flags = PageCategories.Present;
            if (_cursor < _away.Count)
            {
                ref readonly var run = ref _away[_cursor];
                var here = run.Range.Start.Number <= at.Number;
                if (here) flags = run.Flags & ~PageCategories.ZeroFrame; // what it was when it was protected: see above
                var change = here ? run.Range.End : run.Range.Start;
                if (change.Number < end.Number) end = change;
            }

            if ((flags & Populated) != 0) RunBuilder.Append(runs, PageRange.Between(at, end), flags);
            at = end;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _job.Withdraw();
        _scanner?.Dispose();
        _scanner = null;
    }

    private void Walk()
    {
        foreach (var range in _ranges)
        {
            var at = range.Start;
            while (NextSolid(PageRange.Between(at, range.End)) is { IsEmpty: false } solid)
            {
                WalkPages(PageRange.Between(at, solid.Start));
                LookAtBlocks(solid);
                at = solid.End;
            }

            WalkPages(PageRange.Between(at, range.End));
        }
    }

    private void WalkPages(PageRange range)
    {
        var size = PagesAtATime;
        for (var at = range.Start; at.Number < range.End.Number;)
        {
            var piece = new PageRange(at, Math.Min(size, range.End.Number - at.Number));
            _scanner!.ScanAway(piece, _away);
            size = IsHole(piece) ? Math.Min(size * 2, 1UL << 40) : PagesAtATime; // reservations of terabytes are mostly empty
            at = piece.End;
        }
    }

    /// <summary>
    /// Of a page table that is gone the scan for what was written may say nothing; 6.18 makes a new one and reports all of its pages, which then would have to be read. Where a page is in memory there is a
    /// table, with all that has become of the other pages in it. Where much has been dropped the first page of a table is gone as well: then each of the others is looked at.
    /// </summary>
    private void LookAtBlocks(PageRange solid)
    {
        for (var at = solid.Start; at.Number < solid.End.Number;)
        {
            var blocks = (int)Math.Min((ulong)_addresses.Length, (solid.End.Number - at.Number) / SolidMemory.BlockPages);
            for (var i = 0; i < blocks; i++) _addresses[i] = (at + (ulong)i * SolidMemory.BlockPages).Address;
            var error = PagePlaces.TryFind(_pid, _addresses.AsSpan(0, blocks), _places.AsSpan(0, blocks));
            for (var i = 0; i < blocks; i++)
            {
                var block = new PageRange(at, SolidMemory.BlockPages);
                if (error == 0 && _places[i] >= 0) AddProved(block);
                else WalkPages(block);
                at = block.End;
            }
        }
    }

    private void AddProved(PageRange block)
    {
        if (_proved.Count > 0 && _proved[_proved.Count - 1].End == block.Start) _proved[_proved.Count - 1] = PageRange.Between(_proved[_proved.Count - 1].Start, block.End);
        else _proved.Add(block);
    }

    // The first solid part of a range; empty if there is none. Ranges come in ascending order.
    private PageRange NextSolid(PageRange range)
    {
        for (; _solid is not null && _solidCursor < _solid.Ranges.Count; _solidCursor++)
        {
            var known = _solid.Ranges[_solidCursor];
            if (known.Start.Number >= range.End.Number) return default;
            if (SolidMemory.WholeBlocks(known.Intersect(range)) is { IsEmpty: false } solid) return solid;
            if (known.End.Number > range.End.Number) return default; // the rest of it lies in the next range
        }

        return default;
    }

    // To the first that does not end in front of it.
    private void Seek(VirtualPage page)
    {
        while (_cursor > 0 && _away[_cursor - 1].Range.End.Number > page.Number) _cursor--;
        while (_cursor < _away.Count && _away[_cursor].Range.End.Number <= page.Number) _cursor++;
    }

    private bool IsHole(PageRange piece)
    {
        if (_away.Count == 0) return false;
        ref readonly var last = ref _away[_away.Count - 1];
        return last.Flags == PageCategories.None && last.Range.Start.Number <= piece.Start.Number && last.Range.End == piece.End;
    }
}
