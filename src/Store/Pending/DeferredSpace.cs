using Crstore.Model;

namespace Crstore.Store.Pending;

/// <summary>A space whose parent is announced and not committed: it knows at once what may be kept, and waits with everything else.</summary>
/// <param name="parentSpans">The parent's pages with content, as announced.</param>
/// <param name="settle">Waits for the parent, and opens the space in the store.</param>
internal sealed class DeferredSpace(IReadOnlyList<PageSpan> parentSpans, Func<DeferredSpace, ISpaceWriter> settle) : ISpaceWriter
{
    private ISpaceWriter? settled;

    public IReadOnlyList<PageSpan> ParentSpans => parentSpans;

    private ISpaceWriter Settled => settled ??= settle(this);

    public void Keep(PageRange range) => Settled.Keep(range);

    public void SetZero(PageRange range) => Settled.SetZero(range);

    public void SetExcluded(PageRange range) => Settled.SetExcluded(range);

    public void SetAbsent(PageRange range) => Settled.SetAbsent(range);

    public void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages) => Settled.SetContent(first, pages);

    public void SetContent(IReadOnlyList<PageRange> runs, ReadOnlyMemory<byte> pages, PageLoan loan) => Settled.SetContent(runs, pages, loan);

    public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) => Settled.MatchesParent(page, content);

    public void Clear() => settled?.Clear(); // else nothing was said
}
