using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.PageMaps;
using Crstore.Store.Reading;

namespace Crstore.Store.Writing;

/// <summary>The page map of one address space under construction.</summary>
internal sealed class SpaceWriter : ISpaceWriter
{
    private readonly ChunkSink sink;
    private readonly FrameCache frames;
    private readonly PageMap? parent;
    private readonly Crid crid;
    private PageMapBuilder builder;
    private readonly ChunkSink.PageHandler handler;
    private IReadOnlyList<PageSpan>? parentSpans;

    public SpaceWriter(Crid crid, SpaceId id, PageMap? parent, ChunkSink sink, FrameCache frames)
    {
        (this.crid, Id, this.parent, this.sink, this.frames) = (crid, id, parent, sink, frames);
        builder = new PageMapBuilder(crid, id, parent);
        handler = Set;
    }

    /// <summary>Its number.</summary>
    public SpaceId Id { get; }

    /// <inheritdoc/>
    public IReadOnlyList<PageSpan> ParentSpans => parentSpans ??= LoadParentSpans();

    /// <inheritdoc/>
    public void Keep(PageRange range) => builder.Keep(range);

    /// <inheritdoc/>
    public void SetZero(PageRange range) => builder.SetZero(range);

    /// <inheritdoc/>
    public void SetExcluded(PageRange range) => builder.SetExcluded(range);

    /// <inheritdoc/>
    public void SetAbsent(PageRange range) => builder.SetAbsent(range);

    /// <inheritdoc/>
    public void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages)
    {
        if (pages.Length % VirtualPage.Size != 0) throw new ArgumentException($"{pages.Length} bytes are no whole pages", nameof(pages));
        sink.Take(first, pages, handler);
    }

    /// <inheritdoc/>
    public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content)
    {
        if (content.Length != VirtualPage.Size) throw new ArgumentException($"{content.Length} bytes are no page", nameof(content));
        var run = parent?.Find(page) ?? default;
        return run.Kind switch
        {
            PageKind.Zero => !content.ContainsAnyExcept((byte)0),
            PageKind.Chunk => frames.Get(FrameId.Of(run.First)).Hash(run.First.Slot) == ContentHash.Of(content),
            _ => false,
        };
    }

    /// <inheritdoc/>
    public void Clear() => builder = new PageMapBuilder(crid, Id, parent);

    /// <summary>The finished map.</summary>
    public PageMapResult Build() => builder.Build();

    private void Set(VirtualPage page, ChunkLocation? location)
    {
        if (location is { } chunk) builder.SetChunk(page, chunk);
        else builder.SetZero(new PageRange(page, 1));
    }

    private List<PageSpan> LoadParentSpans()
    {
        var spans = new List<PageSpan>();
        if (parent is null) return spans;
        foreach (var run in parent.Spans(PageMap.Everything))
        {
            if (spans.Count > 0 && spans[^1].Kind == run.Kind && spans[^1].Range.End == run.Range.Start)
                spans[^1] = spans[^1] with { Range = new PageRange(spans[^1].Range.Start, spans[^1].Range.Count + run.Range.Count) };
            else
                spans.Add(new PageSpan(run.Range, run.Kind));
        }

        return spans;
    }
}
