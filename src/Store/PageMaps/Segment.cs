using Crstore.Model;

namespace Crstore.Store.PageMaps;

/// <summary>Where a segment is stored: the checkpoint that wrote it, the address space's number there, and its place.</summary>
/// <param name="Writer">The CRID that wrote it.</param>
/// <param name="Space">The space's number in that CRID, which may differ from its number in a CRID that refers to it.</param>
/// <param name="Number">First page divided by <see cref="Segment.Pages"/>.</param>
public readonly record struct SegmentKey(Crid Writer, SpaceId Space, ulong Number)
{
    /// <summary>The pages it covers.</summary>
    public PageRange Range => Segment.RangeOf(Number, 1);

    /// <summary>For messages.</summary>
    public override string ToString() => $"page-map segment {Range} of CRID {Writer}, space {Space}";
}

/// <summary>A run of pages within a segment.</summary>
/// <param name="Start">First page, counted from the segment's first one.</param>
/// <param name="Length">Pages, 1 to 512.</param>
/// <param name="Kind">What they are.</param>
/// <param name="First">For <see cref="PageKind.Chunk"/>, where the first page's chunk is; the others follow it.</param>
public readonly record struct PageExtent(ushort Start, ushort Length, PageKind Kind, ChunkLocation First)
{
    /// <summary>Page behind the last one, counted from the segment's first one.</summary>
    public int End => Start + Length;

    /// <summary>What it says of some of its pages.</summary>
    public PageExtent Cut(int start, int end) => new((ushort)start, (ushort)(end - start), Kind,
        Kind == PageKind.Chunk ? First with { Ordinal = First.Ordinal + (uint)(start - Start) } : default);

    /// <summary>True if <paramref name="next"/>, which begins where this ends, only goes on with the same run.</summary>
    public bool ContinuesInto(in PageExtent next) => ContinuesInto(next.Kind, next.First);

    /// <summary>True if pages of that kind, at that location, right behind this extent, belong to the same run.</summary>
    public bool ContinuesInto(PageKind kind, ChunkLocation first) => Kind == kind &&
        (Kind != PageKind.Chunk || (First.Crid == first.Crid && (ulong)First.Ordinal + Length == first.Ordinal));
}

/// <summary>The page map of 512 consecutive pages: what an increment rewrites if one of them changed.</summary>
/// <param name="Number">First page divided by <see cref="Pages"/>.</param>
/// <param name="Extents">Maximal runs in address order, covering all pages.</param>
public sealed record Segment(ulong Number, PageExtent[] Extents)
{
    private PageSpan[]? _kinds;

    /// <summary>Pages in a segment.</summary>
    public const int Pages = 1 << Shift;

    /// <summary>The full segment that this one was stored as a difference from; null if it is a full one itself.</summary>
    public SegmentKey? Base { get; init; }

    /// <summary>Of a difference: <see cref="StoredSegment.Excess"/>.</summary>
    public int Excess { get; init; }

    /// <summary>Binary logarithm of <see cref="Pages"/>.</summary>
    public const int Shift = 9;

    /// <summary>The segment that holds a page.</summary>
    public static ulong NumberOf(VirtualPage page) => page.Number >> Shift;

    /// <summary>The pages of some segments.</summary>
    public static PageRange RangeOf(ulong first, ulong count) => new(new VirtualPage(first << Shift), count << Shift);

    /// <summary>Maximal runs of one kind, wherever their chunks are, in address order, covering all pages. Found out once: mostly it is a single one.</summary>
    public PageSpan[] Kinds => _kinds ??= FindKinds();

    /// <summary>Index of the extent that holds a page, counted from the segment's first one.</summary>
    public int IndexOf(int offset)
    {
        int low = 0, high = Extents.Length - 1;
        while (low < high)
        {
            var middle = (low + high + 1) / 2;
            if (Extents[middle].Start <= offset) low = middle;
            else high = middle - 1;
        }

        return low;
    }

    private PageSpan[] FindKinds()
    {
        var kinds = new List<PageSpan>();
        for (var next = 0; next < Extents.Length;)
        {
            var (first, kind) = (Extents[next].Start, Extents[next].Kind);
            while (++next < Extents.Length && Extents[next].Kind == kind) continue;
            var end = next < Extents.Length ? Extents[next].Start : Pages;
            kinds.Add(new PageSpan(new PageRange(new VirtualPage((Number << Shift) + first), (ulong)(end - first)), kind));
        }

        return [.. kinds];
    }
}

/// <summary>Where segments come from.</summary>
public interface ISegmentSource
{
    /// <summary>The stored bytes of a segment; empty if there is none. May be called from several threads.</summary>
    ReadOnlyMemory<byte> Load(Crid writer, SpaceId space, ulong segment);

    /// <summary>Segments that need not be decoded again; null if none are kept.</summary>
    SegmentCache? Kept => null;
}
