using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.PageMaps;
using Crstore.Store.Reading;

namespace Crstore.Store.Writing;

/// <summary>
/// The page map of one address space under construction. The sink gathers pages before it says where they are; what is said
/// of the space in the meantime waits, so that the map's builder hears everything in the order in which it was said.
/// </summary>
internal sealed class SpaceWriter : ISpaceWriter
{
    private readonly ChunkSink sink;
    private readonly ChunkLookup chunks;
    private readonly PageMap? parent;
    private readonly Crid crid;
    private readonly ChunkSink.PageHandler handler;
    private readonly Queue<Waiting> waiting = new();
    private PageMapBuilder builder;
    private IReadOnlyList<PageSpan>? parentSpans;

    public SpaceWriter(Crid crid, SpaceId id, PageMap? parent, ChunkSink sink, ChunkLookup chunks)
    {
        (this.crid, Id, this.parent, this.sink, this.chunks) = (crid, id, parent, sink, chunks);
        builder = new PageMapBuilder(crid, id, parent);
        handler = Set;
    }

    private enum Verb : byte { Keep, Zero, Excluded, Absent, Content }

    /// <summary>Its number.</summary>
    public SpaceId Id { get; }

    /// <inheritdoc/>
    public IReadOnlyList<PageSpan> ParentSpans => parentSpans ??= LoadParentSpans();

    /// <inheritdoc/>
    public void Keep(PageRange range)
    {
        builder.CheckKeep(range); // now, while the caller can be told
        Say(Verb.Keep, range);
    }

    /// <inheritdoc/>
    public void SetZero(PageRange range) => Say(Verb.Zero, range);

    /// <inheritdoc/>
    public void SetExcluded(PageRange range) => Say(Verb.Excluded, range);

    /// <inheritdoc/>
    public void SetAbsent(PageRange range) => Say(Verb.Absent, range);

    /// <inheritdoc/>
    public void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages)
    {
        if (pages.Length % VirtualPage.Size != 0) throw new ArgumentException($"{pages.Length} bytes are no whole pages", nameof(pages));
        if (pages.IsEmpty) return;
        waiting.Enqueue(new Waiting(Verb.Content, new PageRange(first, (ulong)(pages.Length / VirtualPage.Size))));
        sink.Take(first, pages, parent, handler);
    }

    /// <inheritdoc/>
    public void SetContent(IReadOnlyList<PageRange> runs, ReadOnlyMemory<byte> pages, PageLoan loan)
    {
        var wanted = 0UL;
        foreach (var run in runs) wanted += run.SizeBytes;
        if (wanted != (ulong)pages.Length) throw new ArgumentException($"{pages.Length} bytes for pages of {wanted}", nameof(pages));
        foreach (var run in runs) waiting.Enqueue(new Waiting(Verb.Content, run));
        sink.Take(runs, pages, parent, handler, loan);
    }

    /// <inheritdoc/>
    public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content)
    {
        if (content.Length != VirtualPage.Size) throw new ArgumentException($"{content.Length} bytes are no page", nameof(content));
        var run = parent?.Find(page) ?? default;
        return run.Kind switch
        {
            PageKind.Zero => !content.ContainsAnyExcept((byte)0),
            PageKind.Chunk => chunks.Hash(run.First) == PageHash.Of(content),
            _ => false,
        };
    }

    /// <inheritdoc/>
    public void Clear()
    {
        sink.Flush(); // what it still has of this space belongs to the past
        builder = new PageMapBuilder(crid, Id, parent);
    }

    /// <summary>
    /// Calls back for each page that is as in the parent and made by a patch, in segments that differ from the parent's anyway. The sink has
    /// told of all pages by now.
    /// </summary>
    public void VisitKeptPatches(Action<VirtualPage, ChunkLocation> visit) => builder.VisitKeptPatches(visit);

    /// <summary>A page's content, the same as before, is another chunk.</summary>
    public void Move(VirtualPage page, ChunkLocation location) => builder.SetChunk(page, location);

    /// <summary>The finished map. The sink has told of all pages by now.</summary>
    public PageMapResult Build() => builder.Build();

    private void Say(Verb verb, PageRange range)
    {
        if (waiting.Count > 0) waiting.Enqueue(new Waiting(verb, range));
        else Tell(verb, range);
    }

    private void Tell(Verb verb, PageRange range)
    {
        switch (verb)
        {
            case Verb.Keep: builder.KeepChecked(range); break;
            case Verb.Zero: builder.SetZero(range); break;
            case Verb.Excluded: builder.SetExcluded(range); break;
            default: builder.SetAbsent(range); break;
        }
    }

    /// <summary>The sink says where a page is: the next one of those that wait.</summary>
    private void Set(VirtualPage page, ChunkLocation? location)
    {
        if (location is { } chunk) builder.SetChunk(page, chunk);
        else builder.SetZero(new PageRange(page, 1));
        if (page + 1 != waiting.Peek().Range.End) return;
        waiting.Dequeue();
        while (waiting.TryPeek(out var next) && next.Verb != Verb.Content)
        {
            waiting.Dequeue();
            Tell(next.Verb, next.Range);
        }
    }

    private List<PageSpan> LoadParentSpans()
    {
        var spans = new List<PageSpan>();
        if (parent is null) return spans;
        foreach (var run in parent.Kinds(PageMap.Everything))
        {
            if (spans.Count > 0 && spans[^1].Kind == run.Kind && spans[^1].Range.End == run.Range.Start)
                spans[^1] = spans[^1] with { Range = new PageRange(spans[^1].Range.Start, spans[^1].Range.Count + run.Range.Count) };
            else
                spans.Add(run);
        }

        return spans;
    }

    private readonly record struct Waiting(Verb Verb, PageRange Range);
}
