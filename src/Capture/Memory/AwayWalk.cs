using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// Finds the pages of a frozen process that are not in memory, on a thread of the crew, while the freezing thread reads the state.
/// With what was written this tells all of every page: the rest is clean and in memory. The kernel skips a page that doesn't match
/// in 3 ns and reports one that does in 13 (6.18), and nearly all of a large process is in memory and clean: so two walks that
/// report little are cheaper than one that reports everything.
/// </summary>
public sealed class AwayWalk : IDisposable
{
    private const PageCategories Populated = PageCategories.Present | PageCategories.Swapped;
    private const ulong PagesAtATime = 8192; // some 30 us: for as long as a walk takes the target can map nothing, which injected calls do meanwhile
    private readonly RunList<PageRange> _ranges = new(512);
    private readonly RunList<PageRun> _away = new(4096);
    private readonly CrewJob _job;
    private PagemapScanScanner? _scanner;
    private int _cursor;

    /// <summary>Nothing is looked at yet.</summary>
    public AwayWalk() => _job = new CrewJob(Walk);

    /// <summary>Offers the walk over the memory of a process that a tracker may vouch for.</summary>
    /// <param name="pid">Process.</param>
    /// <param name="vmas">Its mappings as of the freeze, in address order.</param>
    /// <param name="crew">Who takes it, unless <see cref="Complete"/> comes first.</param>
    public void Begin(int pid, IReadOnlyList<PlannedVma> vmas, FreezeCrew crew)
    {
        Dispose();
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

    /// <summary>True if every page of a range was in memory, and none the zero page; best asked in ascending order.</summary>
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
            var size = PagesAtATime;
            for (var at = range.Start; at.Number < range.End.Number;)
            {
                var piece = new PageRange(at, Math.Min(size, range.End.Number - at.Number));
                _scanner!.ScanAway(piece, _away);
                size = IsHole(piece) ? Math.Min(size * 2, 1UL << 40) : PagesAtATime; // reservations of terabytes are mostly empty
                at = piece.End;
            }
        }
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
