using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Tests.Memory;

/// <summary>A page map in memory that stands in for the store: hashes instead of content.</summary>
internal sealed class MemorySpace(MemorySpace? parent) : ISpaceWriter
{
    private readonly SortedDictionary<ulong, (PageKind Kind, ContentHash Hash)> _pages = [];
    private IReadOnlyList<PageSpan>? _parentSpans;

    public static readonly ContentHash ZeroHash = PageHash.Of(new byte[VirtualPage.Size]);

    public IReadOnlyList<PageSpan> ParentSpans => _parentSpans ??= parent?.Spans() ?? [];

    public IReadOnlyDictionary<ulong, (PageKind Kind, ContentHash Hash)> Pages => _pages;

    /// <summary>Pages whose content was given, each time counted.</summary>
    public int Given { get; private set; }

    /// <summary>Told what content is given, when it is.</summary>
    public Action<PageRange>? OnContent { get; init; }

    public void Keep(PageRange range)
    {
        foreach (var page in Numbers(range))
        {
            if (parent is null || !parent._pages.TryGetValue(page, out var entry) || entry.Kind is not (PageKind.Chunk or PageKind.Zero))
                throw new ArgumentException($"nothing to keep at {new VirtualPage(page)}");
            _pages[page] = entry;
        }
    }

    public void Clear() => _pages.Clear();

    public void SetZero(PageRange range)
    {
        foreach (var page in Numbers(range)) _pages[page] = (PageKind.Zero, ZeroHash);
    }

    public void SetExcluded(PageRange range)
    {
        foreach (var page in Numbers(range)) _pages[page] = (PageKind.Excluded, default);
    }

    public void SetAbsent(PageRange range)
    {
        foreach (var page in Numbers(range)) _pages.Remove(page);
    }

    public void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages)
    {
        for (var i = 0; i < pages.Length / VirtualPage.Size; i++)
        {
            Given++;
            var hash = PageHash.Of(pages.Span.Slice(i * VirtualPage.Size, VirtualPage.Size));
            _pages[first.Number + (ulong)i] = (hash == ZeroHash ? PageKind.Zero : PageKind.Chunk, hash);
        }

        OnContent?.Invoke(new PageRange(first, (ulong)pages.Length / VirtualPage.Size));
    }

    public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) =>
        parent is not null && parent._pages.TryGetValue(page.Number, out var entry) && entry.Hash == PageHash.Of(content);

    private List<PageSpan> Spans()
    {
        var spans = new List<PageSpan>();
        foreach (var (page, entry) in _pages)
            if (spans.Count > 0 && spans[^1] is var last && last.Kind == entry.Kind && last.Range.End.Number == page)
                spans[^1] = last with { Range = new PageRange(last.Range.Start, last.Range.Count + 1) };
            else
                spans.Add(new PageSpan(new PageRange(new VirtualPage(page), 1), entry.Kind));
        return spans;
    }

    private static IEnumerable<ulong> Numbers(PageRange range)
    {
        for (ulong i = 0; i < range.Count; i++) yield return range.Start.Number + i;
    }
}
