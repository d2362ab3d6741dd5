using Crstore.Model;

namespace Crstore.Store.PageMaps;

/// <summary>A run of pages of one kind; for chunks, at consecutive locations from <paramref name="First"/> on.</summary>
public readonly record struct PageRun(PageRange Range, PageKind Kind, ChunkLocation First)
{
    /// <summary>Where the chunk of one of its pages is.</summary>
    public ChunkLocation LocationOf(VirtualPage page) => Kind == PageKind.Chunk ? Skip(page.Number - Range.Start.Number) : default;

    /// <summary>The part of it that lies in a range that overlaps it.</summary>
    public PageRun Within(PageRange range)
    {
        var common = Range.Intersect(range);
        return new PageRun(common, Kind, LocationOf(common.Start));
    }

    /// <summary>True if <paramref name="next"/> begins where this ends and goes on with the same run.</summary>
    public bool ContinuesInto(in PageRun next) => Range.End == next.Range.Start && Kind == next.Kind &&
        (Kind != PageKind.Chunk || (First.Crid == next.First.Crid && First.Ordinal + Range.Count == next.First.Ordinal));

    /// <summary>This run and the one that it continues into.</summary>
    public PageRun Join(in PageRun next) => this with { Range = new PageRange(Range.Start, Range.Count + next.Range.Count) };

    private ChunkLocation Skip(ulong pages) => First with { Ordinal = (uint)(First.Ordinal + pages) };
}
