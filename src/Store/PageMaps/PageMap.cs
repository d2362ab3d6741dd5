using Crstore.Model;

namespace Crstore.Store.PageMaps;

/// <summary>
/// The page map of one address space at one CRID, read lazily: the root is decoded at once, segments when a page of theirs
/// is asked for. A chain's length plays no part: the root names for every segment the CRID that wrote it. Thread safe.
/// </summary>
public sealed class PageMap
{
    private const int CachedSegments = 1024;
    private const int WorthAllCores = 16; // segments: about a millisecond

    private readonly FormatLimits _limits;
    private readonly RootEntry[] _entries;

    // Direct mapped. Segments are immutable, so a lost race only costs a second load.
    private readonly Segment?[] _cache;

    /// <summary>Decodes the root.</summary>
    /// <param name="crid">The checkpoint.</param>
    /// <param name="space">The address space in it.</param>
    /// <param name="root">The stored root.</param>
    /// <param name="source">Where segments come from.</param>
    /// <param name="limits">Null for the default ones.</param>
    /// <exception cref="StoreDamagedException">The root is not one, or another one's.</exception>
    public PageMap(Crid crid, SpaceId space, ReadOnlyMemory<byte> root, ISegmentSource source, FormatLimits? limits = null)
        : this(crid, space, RootCodec.Decode(crid, space, root.Span, limits), source, limits)
    {
    }

    internal PageMap(Crid crid, SpaceId space, RootEntry[] entries, ISegmentSource source, FormatLimits? limits = null)
    {
        (Crid, Space, Source, _entries) = (crid, space, source, entries);
        _limits = limits ?? FormatLimits.Default;
        ulong segments = 0;
        foreach (var entry in entries) segments += entry.Uniform is null ? entry.Count : 0;
        _cache = new Segment?[(int)Math.Clamp(segments, 1, CachedSegments)];
    }

    /// <summary>The checkpoint.</summary>
    public Crid Crid { get; }

    /// <summary>The address space in it.</summary>
    public SpaceId Space { get; }

    /// <summary>The root: in address order, gaps are absent.</summary>
    public IReadOnlyList<RootEntry> Entries => _entries;

    internal ISegmentSource Source { get; }

    /// <summary>The whole address space.</summary>
    public static PageRange Everything { get; } = new(default, FormatLimits.Default.MaxPageNumber);

    /// <summary>Maximal runs within a range, in address order, without the absent pages.</summary>
    /// <exception cref="StoreDamagedException">While enumerating: a segment is missing or damaged.</exception>
    public IEnumerable<PageRun> Spans(PageRange within)
    {
        PageRun? last = null;
        foreach (var run in Pieces(within))
        {
            if (last is { } before && before.ContinuesInto(run))
            {
                last = before.Join(run);
                continue;
            }

            if (last is { } whole) yield return whole;
            last = run;
        }

        if (last is { } rest) yield return rest;
    }

    /// <summary>
    /// Calls back for each run within a range, in address order, without the absent pages: runs end with their segment. For who
    /// walks over all of a map whose every page may be a run of its own: an iterator's steps cost more than what they find.
    /// </summary>
    /// <exception cref="StoreDamagedException">A segment is missing or damaged.</exception>
    public void Visit(PageRange within, Action<PageRun> visit)
    {
        for (var i = FirstEntryEndingAfter(Segment.NumberOf(within.Start)); Overlaps(i, within); i++)
        {
            var entry = _entries[i];
            if (entry.Uniform is { } kind)
            {
                visit(new PageRun(entry.Range.Intersect(within), kind, default));
                continue;
            }

            var (from, to) = SegmentsOf(entry, within);
            for (var number = from; number < to; number++)
            {
                var segment = Load(entry.Key(number));
                var first = number << Segment.Shift < within.Start.Number ? segment.IndexOf((int)(within.Start.Number % Segment.Pages)) : 0;
                foreach (ref readonly var extent in segment.Extents.AsSpan(first))
                {
                    var run = RunOf(number, extent);
                    if (run.Kind == PageKind.Absent) continue;
                    if (run.Range.Start.Number >= within.End.Number) return;
                    visit(run.Range.Start.Number >= within.Start.Number && run.Range.End.Number <= within.End.Number ? run : run.Within(within));
                }
            }
        }
    }

    /// <summary>Runs of one kind within a range, wherever their chunks are, in address order, without the absent pages; they end with their segment.</summary>
    /// <exception cref="StoreDamagedException">While enumerating: a segment is missing or damaged.</exception>
    public IEnumerable<PageSpan> Kinds(PageRange within)
    {
        for (var i = FirstEntryEndingAfter(Segment.NumberOf(within.Start)); Overlaps(i, within); i++)
        {
            var entry = _entries[i];
            if (entry.Uniform is { } kind)
            {
                yield return new PageSpan(entry.Range.Intersect(within), kind);
                continue;
            }

            var (from, to) = SegmentsOf(entry, within);
            for (var number = from; number < to; number++)
            {
                foreach (var span in Load(entry.Key(number)).Kinds)
                {
                    var inside = span.Range.Intersect(within);
                    if (span.Kind != PageKind.Absent && !inside.IsEmpty) yield return new PageSpan(inside, span.Kind);
                }
            }
        }
    }

    /// <summary>What the map says of one page.</summary>
    public PageRun Find(VirtualPage page)
    {
        var number = Segment.NumberOf(page);
        var one = new PageRange(page, 1);
        if (EntryOf(number) is not { } entry) return new PageRun(one, PageKind.Absent, default);
        if (entry.Uniform is { } kind) return new PageRun(one, kind, default);
        var offset = (int)(page.Number % Segment.Pages);
        var segment = Load(entry.Key(number));
        ref readonly var extent = ref segment.Extents[segment.IndexOf(offset)];
        return RunOf(number, extent).Within(one);
    }

    /// <summary>The root's entry for a segment; null if all its pages are absent.</summary>
    public RootEntry? EntryOf(ulong segment)
    {
        var index = FirstEntryEndingAfter(segment);
        return index < _entries.Length && _entries[index].First <= segment ? _entries[index] : null;
    }

    /// <summary>A decoded segment.</summary>
    /// <exception cref="StoreDamagedException">It is missing or damaged.</exception>
    public Segment Load(in SegmentKey key)
    {
        var slot = (int)(key.Number % (ulong)_cache.Length);
        if (Volatile.Read(ref _cache[slot]) is { } cached && cached.Number == key.Number) return cached;
        var segment = SegmentLoader.Load(Source, key, Crid, _limits);
        Volatile.Write(ref _cache[slot], segment);
        return segment;
    }

    /// <summary>Loads the segments of a range on all cores, as far as they are kept: for who is about to walk over it.</summary>
    internal void LoadAhead(PageRange within)
    {
        if (within.Count >> Segment.Shift < WorthAllCores) return;
        var keys = new SegmentKey[_cache.Length];
        var count = 0;
        for (var i = FirstEntryEndingAfter(Segment.NumberOf(within.Start)); Overlaps(i, within); i++)
        {
            if (_entries[i].Uniform is not null) continue;
            var (from, to) = SegmentsOf(_entries[i], within);
            for (; from < to && count < keys.Length; from++)
                if (Volatile.Read(ref _cache[(int)(from % (ulong)_cache.Length)])?.Number != from) keys[count++] = _entries[i].Key(from);
        }

        if (count < WorthAllCores) return;
        AllCores.For(0, count, i =>
        {
            try
            {
                Load(keys[i]);
            }
            catch (StoreDamagedException)
            {
                return; // who walks over it is told, in the order of the addresses
            }
        });
    }

    private IEnumerable<PageRun> Pieces(PageRange within)
    {
        if (within.IsEmpty) yield break;
        var end = (within.End.Number + Segment.Pages - 1) >> Segment.Shift;
        for (var i = FirstEntryEndingAfter(Segment.NumberOf(within.Start)); i < _entries.Length && _entries[i].First < end; i++)
        {
            var entry = _entries[i];
            if (entry.Uniform is { } kind)
            {
                yield return new PageRun(entry.Range.Intersect(within), kind, default);
                continue;
            }

            var from = Math.Max(entry.First, Segment.NumberOf(within.Start));
            for (var number = from; number < Math.Min(entry.End, end); number++)
            {
                var segment = Load(entry.Key(number));
                var first = number << Segment.Shift < within.Start.Number
                    ? segment.IndexOf((int)(within.Start.Number % Segment.Pages)) : 0;
                for (var e = first; e < segment.Extents.Length; e++)
                {
                    var run = RunOf(number, segment.Extents[e]);
                    if (run.Range.Start.Number >= within.End.Number) yield break;
                    if (run.Kind != PageKind.Absent) yield return run.Within(within);
                }
            }
        }
    }

    private static PageRun RunOf(ulong segment, in PageExtent extent) => new(
        new PageRange(new VirtualPage((segment << Segment.Shift) + extent.Start), extent.Length), extent.Kind, extent.First);

    private bool Overlaps(int entry, PageRange within) =>
        !within.IsEmpty && entry < _entries.Length && _entries[entry].First < (within.End.Number + Segment.Pages - 1) >> Segment.Shift;

    private static (ulong From, ulong To) SegmentsOf(in RootEntry entry, PageRange within) =>
        (Math.Max(entry.First, Segment.NumberOf(within.Start)), Math.Min(entry.End, (within.End.Number + Segment.Pages - 1) >> Segment.Shift));

    private int FirstEntryEndingAfter(ulong segment)
    {
        int low = 0, high = _entries.Length;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_entries[middle].End > segment) high = middle;
            else low = middle + 1;
        }

        return low;
    }
}
