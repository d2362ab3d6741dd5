using Crstore.Model;

namespace Crstore.Store.PageMaps;

/// <summary>Pages that two maps say different things of. The runs have the same range; absent ones are there too.</summary>
public readonly record struct PageChange(PageRun Before, PageRun After)
{
    /// <summary>The pages.</summary>
    public PageRange Range => Before.Range;
}

/// <summary>Compares two page maps at a cost that grows with what differs: a segment that both refer to is never loaded.</summary>
public static class PageMapDiff
{
    /// <summary>Ranges of whole segments for which the two roots say different things; nothing is loaded.</summary>
    public static IEnumerable<PageRange> SegmentsDiffering(this PageMap before, PageMap after)
    {
        var (a, b) = (before.Entries, after.Entries);
        int i = 0, j = 0;
        ulong position = 0;
        PageRange? pending = null;
        while (true)
        {
            while (i < a.Count && a[i].End <= position) i++;
            while (j < b.Count && b[j].End <= position) j++;
            if (i == a.Count && j == b.Count) break;
            var left = At(a, i, position, out var leftEnd);
            var right = At(b, j, position, out var rightEnd);
            var end = Math.Min(leftEnd, rightEnd);
            var same = left is { } x ? right is { } y && x.SameContent(y) : right is null;
            if (!same)
            {
                var range = Segment.RangeOf(position, end - position);
                if (pending is { } before2 && before2.End == range.Start) pending = new PageRange(before2.Start, before2.Count + range.Count);
                else
                {
                    if (pending is { } whole) yield return whole;
                    pending = range;
                }
            }

            position = end;
        }

        if (pending is { } rest) yield return rest;
    }

    /// <summary>Runs of pages whose kind or chunk location differs, in address order.</summary>
    /// <exception cref="StoreDamagedException">While enumerating: a segment is missing or damaged.</exception>
    public static IEnumerable<PageChange> Changes(PageMap before, PageMap after)
    {
        foreach (var range in before.SegmentsDiffering(after))
            foreach (var change in Changes(before, after, range)) yield return change;
    }

    /// <summary>The same within a range, in which all segments are loaded.</summary>
    internal static IEnumerable<PageChange> Changes(PageMap before, PageMap after, PageRange range)
    {
        using var left = WithAbsent(before, range).GetEnumerator();
        using var right = WithAbsent(after, range).GetEnumerator();
        left.MoveNext();
        right.MoveNext();
        for (var position = range.Start; position.Number < range.End.Number;)
        {
            while (left.Current.Range.End.Number <= position.Number) left.MoveNext();
            while (right.Current.Range.End.Number <= position.Number) right.MoveNext();
            var common = PageRange.Between(position, range.End).Intersect(left.Current.Range).Intersect(right.Current.Range);
            var change = new PageChange(left.Current.Within(common), right.Current.Within(common));
            if (change.Before != change.After) yield return change;
            position = common.End;
        }
    }

    private static RootEntry? At(IReadOnlyList<RootEntry> entries, int index, ulong position, out ulong end)
    {
        end = ulong.MaxValue;
        if (index == entries.Count) return null;
        var inside = entries[index].First <= position;
        end = inside ? entries[index].End : entries[index].First;
        return inside ? entries[index] : null;
    }

    private static IEnumerable<PageRun> WithAbsent(PageMap map, PageRange range)
    {
        var position = range.Start;
        foreach (var run in map.Spans(range))
        {
            if (run.Range.Start != position) yield return new PageRun(PageRange.Between(position, run.Range.Start), PageKind.Absent, default);
            yield return run;
            position = run.Range.End;
        }

        if (position != range.End) yield return new PageRun(PageRange.Between(position, range.End), PageKind.Absent, default);
    }
}
