using Crstore.Model;

namespace Crstore.Capture;

/// <summary>Passes everything on, content in pieces of a few MiB: between two pieces progress is reported and an interrupt noticed.</summary>
/// <param name="inner">To whom.</param>
/// <param name="mayStore">Called before content goes there; throws if it can't now.</param>
/// <param name="pagesDone">Told how many did.</param>
/// <param name="cancel">Asked.</param>
internal sealed class ReportingSpaceWriter(ISpaceWriter inner, Action mayStore, Action<ulong> pagesDone, CancellationToken cancel) : ISpaceWriter
{
    private const int PieceBytes = 8 << 20;

    public IReadOnlyList<PageSpan> ParentSpans => inner.ParentSpans;

    public void Keep(PageRange range) => inner.Keep(range);

    public void SetZero(PageRange range) => inner.SetZero(range);

    public void SetExcluded(PageRange range) => inner.SetExcluded(range);

    public void SetAbsent(PageRange range) => inner.SetAbsent(range);

    public void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages)
    {
        for (var offset = 0; offset < pages.Length; offset += PieceBytes)
        {
            cancel.ThrowIfCancellationRequested();
            mayStore();
            var piece = pages.Slice(offset, Math.Min(PieceBytes, pages.Length - offset));
            inner.SetContent(first + (ulong)(offset / VirtualPage.Size), piece);
            pagesDone((ulong)(piece.Length / VirtualPage.Size));
        }
    }

    public void SetContent(IReadOnlyList<PageRange> runs, ReadOnlyMemory<byte> pages, PageLoan loan)
    {
        cancel.ThrowIfCancellationRequested();
        mayStore();
        inner.SetContent(runs, pages, loan);
        pagesDone((ulong)(pages.Length / VirtualPage.Size));
    }

    public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) => inner.MatchesParent(page, content);

    public void Clear() => inner.Clear();
}
