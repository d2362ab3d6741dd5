using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// What to do with every page of one space: docs/ARCHITECTURE.md, "Page maps and pages". Fed VMA by VMA in address order with
/// the scan's runs; the cost grows with the number of runs, not of pages. Reused: allocates only while it grows.
/// </summary>
public sealed class PagePlan
{
    private readonly RunList<PlanRun> _runs = new(16384);
    private readonly RunList<PageRange> _excludedParts = new(16);
    private readonly RunList<PageRange> _guards = new(16);
    private ParentMap _parent = ParentMap.None;
    private int _spanCursor;
    private int _vma;

    /// <summary>In address order; pages in none of them are absent.</summary>
    public RunList<PlanRun> Runs => _runs;

    /// <summary>Guard regions, madvise(MADV_GUARD_INSTALL), in address order: absent, and not to be touched.</summary>
    public RunList<PageRange> Guards => _guards;

    /// <summary>Populated pages looked at.</summary>
    public ulong Scanned { get; private set; }

    /// <summary>Pages to keep.</summary>
    public ulong Kept { get; private set; }

    /// <summary>Pages to read.</summary>
    public ulong ToRead { get; private set; }

    /// <summary>Pages left out because nobody can tell whether they hold data.</summary>
    public ulong Hidden { get; private set; }

    /// <summary>Starts anew against a parent.</summary>
    public void Reset(ParentMap parent)
    {
        _runs.Clear();
        _guards.Clear();
        _parent = parent;
        _spanCursor = 0;
        Scanned = Kept = ToRead = Hidden = 0;
    }

    /// <summary>Adds a VMA's pages.</summary>
    /// <param name="vma">The VMA.</param>
    /// <param name="index">Its number.</param>
    /// <param name="runs">Populated pages in address order.</param>
    /// <param name="dirty">Categories that mean "written"; a clean page has none of them.</param>
    /// <param name="trusted">Where a clean page is proven unchanged; empty: nowhere.</param>
    /// <param name="excluded">Where the user wants nothing, sorted.</param>
    public void Add(PlannedVma vma, int index, RunList<PageRun> runs, PageCategories dirty, RunList<PageRange> trusted, ReadOnlySpan<PageRange> excluded)
    {
        _vma = index;
        ClipExclusions(vma, excluded);
        var exclusion = 0;
        var part = 0;
        foreach (var run in runs)
        {
            if ((run.Flags & PageCategories.Guard) != 0)
            {
                _guards.Add(run.Range);
                continue;
            }

            if (run.Flags == SharedData.Unknown)
            {
                Emit(run.Range, PageAction.Hide);
                Hidden += run.Range.Count;
                continue;
            }

            Scanned += run.Range.Count;
            if (IsBackingsOwn(vma, run.Flags)) continue;
            var rest = run.Range;
            while (!rest.IsEmpty)
            {
                while (exclusion < _excludedParts.Count && _excludedParts[exclusion].End.Number <= rest.Start.Number) exclusion++;
                var cut = exclusion < _excludedParts.Count ? _excludedParts[exclusion].Intersect(rest) : default;
                if (cut.IsEmpty)
                {
                    AddRun(vma, rest, run.Flags, dirty, trusted, ref part);
                    break;
                }

                AddRun(vma, PageRange.Between(rest.Start, cut.Start), run.Flags, dirty, trusted, ref part);
                Emit(cut, PageAction.Exclude);
                rest = PageRange.Between(cut.End, rest.End);
            }
        }
    }

    /// <summary>The pages that will have content in the page map, in address order.</summary>
    /// <param name="lost">Pages to read that could not be read.</param>
    internal IReadOnlyList<PageRange> Content(IEnumerable<UnreadablePage> lost)
    {
        var all = new List<PageRange>();
        var unreadable = lost.Select(u => u.Page.Number).Order().ToList();
        foreach (var run in _runs)
        {
            if (run.Action is not (PageAction.Keep or PageAction.Zero or PageAction.Read)) continue;
            var start = run.Range.Start;
            if (run.Action == PageAction.Read)
            {
                for (var next = unreadable.FindIndex(n => n >= start.Number); next >= 0 && next < unreadable.Count && unreadable[next] < run.Range.End.Number; next++)
                {
                    Add(PageRange.Between(start, new VirtualPage(unreadable[next])));
                    start = new VirtualPage(unreadable[next] + 1);
                }
            }

            Add(PageRange.Between(start, run.Range.End));
        }

        return all;

        void Add(PageRange range)
        {
            if (range.IsEmpty) return;
            if (all.Count > 0 && all[^1].End == range.Start) all[^1] = new PageRange(all[^1].Start, all[^1].Count + range.Count);
            else all.Add(range);
        }
    }

    /// <summary>Pages that were to be read have turned out to be a guard region, made right before the freeze.</summary>
    public void TurnIntoGuard(PageRange range)
    {
        var before = new RunList<PlanRun>(_runs.Count);
        before.AddRange(_runs);
        _runs.Clear();
        foreach (var run in before)
        {
            var cut = run.Action == PageAction.Read ? run.Range.Intersect(range) : default;
            ToRead -= cut.Count;
            if (cut.IsEmpty) _runs.Add(run);
            else
            {
                if (run.Range.Start != cut.Start) _runs.Add(run with { Range = PageRange.Between(run.Range.Start, cut.Start) });
                if (run.Range.End != cut.End) _runs.Add(run with { Range = PageRange.Between(cut.End, run.Range.End) });
            }
        }

        var guards = new RunList<PageRange>(_guards.Count);
        guards.AddRange(_guards);
        _guards.Clear();
        var next = 0;
        while (next < guards.Count && guards[next].Start.Number < range.Start.Number) _guards.Add(guards[next++]);
        _guards.Add(range);
        while (next < guards.Count) _guards.Add(guards[next++]);
    }

    /// <summary>False: pages with these flags are never read, and need no room.</summary>
    public static bool MayRead(PlannedVma vma, PageCategories flags) => (flags & (PageCategories.Guard | PageCategories.ZeroFrame)) == 0 && !IsBackingsOwn(vma, flags);

    // A clean page of a private file mapping is the file's. One that is neither in memory nor the file's may be a marker that
    // MADV_DONTNEED left on a write-protected file mapping, or truly swapped: read, whatever the tracker says.
    private static bool IsBackingsOwn(PlannedVma vma, PageCategories flags) =>
        vma.Policy == ReadPolicy.Modified && (flags & PageCategories.File) != 0;

    private void AddRun(PlannedVma vma, PageRange range, PageCategories flags, PageCategories dirty, RunList<PageRange> trusted, ref int part)
    {
        if (range.IsEmpty) return;
        if ((flags & PageCategories.ZeroFrame) != 0)
        {
            Emit(range, PageAction.Zero);
            return;
        }

        var couldBeMarker = vma.Policy != ReadPolicy.Populated && (flags & PageCategories.Present) == 0;
        if (trusted.Count == 0 || couldBeMarker || dirty == PageCategories.None || (flags & dirty) != 0)
        {
            Emit(range, PageAction.Read);
            return;
        }

        while (part > 0 && trusted[part - 1].End.Number > range.Start.Number) part--;
        while (!range.IsEmpty)
        {
            while (part < trusted.Count && trusted[part].End.Number <= range.Start.Number) part++;
            var safe = part < trusted.Count ? trusted[part].Intersect(range) : default;
            if (safe.IsEmpty)
            {
                Emit(range, PageAction.Read);
                return;
            }

            Emit(PageRange.Between(range.Start, safe.Start), PageAction.Read);
            AddClean(safe);
            range = PageRange.Between(safe.End, range.End);
        }
    }

    // Clean and proven: kept where the parent has content, read where it has none (or left it out).
    private void AddClean(PageRange range)
    {
        var spans = _parent.Spans;
        while (_spanCursor > 0 && spans[_spanCursor - 1].Range.End.Number > range.Start.Number) _spanCursor--;
        while (!range.IsEmpty)
        {
            while (_spanCursor < spans.Length && (spans[_spanCursor].Range.End.Number <= range.Start.Number
                || spans[_spanCursor].Kind is not (PageKind.Chunk or PageKind.Zero))) _spanCursor++;
            var known = _spanCursor < spans.Length ? spans[_spanCursor].Range.Intersect(range) : default;
            if (known.IsEmpty)
            {
                Emit(range, PageAction.Read);
                return;
            }

            Emit(PageRange.Between(range.Start, known.Start), PageAction.Read);
            Emit(known, PageAction.Keep);
            range = PageRange.Between(known.End, range.End);
        }
    }

    private void Emit(PageRange range, PageAction action)
    {
        if (range.IsEmpty) return;
        if (action == PageAction.Keep) Kept += range.Count;
        if (action == PageAction.Read) ToRead += range.Count;
        if (_runs.Count > 0)
        {
            ref var last = ref _runs[_runs.Count - 1];
            if (last.Action == action && last.Vma == _vma && last.Range.End == range.Start)
            {
                last = new PlanRun(new PageRange(last.Range.Start, last.Range.Count + range.Count), action, _vma);
                return;
            }
        }

        _runs.Add(new PlanRun(range, action, _vma));
    }

    private void ClipExclusions(PlannedVma vma, ReadOnlySpan<PageRange> excluded)
    {
        _excludedParts.Clear();
        if (vma.LeaveOut)
        {
            _excludedParts.Add(vma.Range);
            return;
        }

        foreach (var range in excluded)
            if (range.Intersect(vma.Range) is { IsEmpty: false } part)
                _excludedParts.Add(part);
    }
}
