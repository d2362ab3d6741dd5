using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// A space into which pages were put while the process ran. For the freeze that follows these are the parent: what it keeps is
/// there already, and what it no longer mentions is taken out again.
/// </summary>
/// <param name="inner">The space.</param>
/// <param name="pages">What was put there.</param>
internal sealed class PreCopiedSpace(ISpaceWriter inner, PreCopiedPages pages) : ISpaceWriter
{
    public IReadOnlyList<PageSpan> ParentSpans => pages.Spans;

    public void Keep(PageRange range)
    {
        // It is there.
    }

    public void SetZero(PageRange range) => inner.SetZero(range);

    public void SetExcluded(PageRange range) => inner.SetExcluded(range);

    public void SetAbsent(PageRange range) => inner.SetAbsent(range);

    public void SetContent(VirtualPage first, ReadOnlyMemory<byte> content) => inner.SetContent(first, content);

    public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) => pages.Matches(page, content);

    public void Clear() => inner.Clear();

    /// <summary>Takes out what was put there and is in none of these runs: unmapped, or given back by the process, since.</summary>
    /// <param name="mentioned">In address order.</param>
    public void DropAllBut(RunList<PlanRun> mentioned)
    {
        var next = 0;
        foreach (var span in pages.Spans)
            for (var at = span.Range.Start; at.Number < span.Range.End.Number;)
            {
                while (next < mentioned.Count && mentioned[next].Range.End.Number <= at.Number) next++;
                var known = next < mentioned.Count ? mentioned[next].Range : new PageRange(span.Range.End, 0);
                if (known.Start.Number > at.Number)
                {
                    var gone = PageRange.Between(at, new VirtualPage(Math.Min(known.Start.Number, span.Range.End.Number)));
                    inner.SetAbsent(gone);
                    at = gone.End;
                    continue;
                }

                at = new VirtualPage(Math.Max(at.Number, Math.Min(known.End.Number, span.Range.End.Number)));
            }
    }
}
