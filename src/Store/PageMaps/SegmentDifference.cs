using Crstore.Model;

namespace Crstore.Store.PageMaps;

/// <summary>What one map of 512 pages says that another doesn't, and back.</summary>
public static class SegmentDifference
{
    /// <summary>The runs of <paramref name="to"/> that <paramref name="from"/> has otherwise: maximal, in address order.</summary>
    /// <param name="from">Extents that cover a segment.</param>
    /// <param name="to">The same.</param>
    public static PageExtent[] Between(ReadOnlySpan<PageExtent> from, ReadOnlySpan<PageExtent> to)
    {
        Span<PageExtent> found = stackalloc PageExtent[Segment.Pages];
        int count = 0, i = 0, j = 0;
        for (var page = 0; page < Segment.Pages;)
        {
            while (from[i].End <= page) i++;
            while (to[j].End <= page) j++;
            if (IsSame(from[i], to[j]))
            {
                page = to[j].End; // mostly
                continue;
            }

            var end = Math.Min(from[i].End, to[j].End);
            var now = to[j].Cut(page, end);
            if (!Same(from[i].Cut(page, end), now)) Append(found, ref count, now);
            page = end;
        }

        return found[..count].ToArray();
    }

    /// <summary>Pages of which the two say different things; absent and zero count as the same.</summary>
    /// <param name="before">Extents that cover a segment.</param>
    /// <param name="after">The same.</param>
    public static int CountChanged(ReadOnlySpan<PageExtent> before, ReadOnlySpan<PageExtent> after)
    {
        int changed = 0, i = 0, j = 0;
        for (var page = 0; page < Segment.Pages;)
        {
            while (before[i].End <= page) i++;
            while (after[j].End <= page) j++;
            var end = Math.Min(before[i].End, after[j].End);
            if (!IsSame(before[i], after[j]))
            {
                var (was, now) = (before[i].Cut(page, end), after[j].Cut(page, end));
                var alike = was.Kind is PageKind.Absent or PageKind.Zero && now.Kind is PageKind.Absent or PageKind.Zero;
                if (!alike && !Same(was, now)) changed += end - page;
            }

            page = end;
        }

        return changed;
    }

    /// <summary>The extents that differ from another segment's in these runs; maximal, covering all pages.</summary>
    /// <param name="from">Extents that cover a segment.</param>
    /// <param name="runs">As <see cref="Between"/> gives them.</param>
    public static PageExtent[] Apply(ReadOnlySpan<PageExtent> from, ReadOnlySpan<PageExtent> runs)
    {
        Span<PageExtent> all = stackalloc PageExtent[Segment.Pages];
        int count = 0, i = 0, page = 0;
        foreach (ref readonly var run in runs)
        {
            Copy(from, ref i, page, run.Start, all, ref count);
            Append(all, ref count, run);
            page = run.End;
        }

        Copy(from, ref i, page, Segment.Pages, all, ref count);
        return all[..count].ToArray();
    }

    private static bool IsSame(in PageExtent a, in PageExtent b) => a.Start == b.Start && a.Length == b.Length && Same(a, b);

    private static bool Same(in PageExtent a, in PageExtent b) =>
        a.Kind == b.Kind && (a.Kind != PageKind.Chunk || (a.First.Crid.Value == b.First.Crid.Value && a.First.Ordinal == b.First.Ordinal));

    private static void Copy(ReadOnlySpan<PageExtent> from, ref int i, int page, int end, Span<PageExtent> to, ref int count)
    {
        while (page < end)
        {
            while (from[i].End <= page) i++;
            var next = Math.Min(from[i].End, end);
            Append(to, ref count, from[i].Cut(page, next));
            page = next;
        }
    }

    private static void Append(Span<PageExtent> to, ref int count, in PageExtent extent)
    {
        if (count > 0 && to[count - 1].End == extent.Start && to[count - 1].ContinuesInto(extent))
            to[count - 1] = to[count - 1] with { Length = (ushort)(to[count - 1].Length + extent.Length) };
        else
            to[count++] = extent;
    }
}
