using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// A space of whose pages earlier rounds know the content. For the round that follows they are the parent: what that keeps is delivered
/// from wherever it is, and what it no longer mentions is taken out of the store again.
/// </summary>
/// <param name="inner">The space.</param>
/// <param name="pages">What the last round knows.</param>
internal sealed class PreCopiedSpace(ISpaceWriter inner, PreCopiedPages pages) : ISpaceWriter
{
    public IReadOnlyList<PageSpan> ParentSpans => pages.Spans;

    public void Keep(PageRange range)
    {
        for (var at = pages.FindRun(range.Start); at < pages.Runs.Count; at++)
        {
            var part = pages.Runs[at].Range.Intersect(range);
            if (part.IsEmpty) return;
            var run = pages.Runs[at].Cut(part);
            switch (run.From)
            {
                case KnownFrom.Parent: inner.Keep(part); break;
                case KnownFrom.Zero: inner.SetZero(part); break;
                case KnownFrom.Memory: inner.SetContent(part.Start, run.Content); break;
                default: break; // it is there
            }
        }
    }

    public void SetZero(PageRange range) => inner.SetZero(range);

    public void SetExcluded(PageRange range) => inner.SetExcluded(range);

    public void SetAbsent(PageRange range) => inner.SetAbsent(range);

    public void SetContent(VirtualPage first, ReadOnlyMemory<byte> content) => inner.SetContent(first, content);

    public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) =>
        pages.IsFromParent(page) ? inner.MatchesParent(page, content) : pages.Matches(page, content);

    public void Clear() => inner.Clear();

    /// <summary>Of the pages to keep, those that rounds have read.</summary>
    public ulong CountRead(RunList<PlanRun> plan)
    {
        ulong count = 0;
        foreach (var run in plan)
        {
            if (run.Action != PageAction.Keep) continue;
            for (var at = pages.FindRun(run.Range.Start); at < pages.Runs.Count; at++)
            {
                var part = pages.Runs[at].Range.Intersect(run.Range);
                if (part.IsEmpty) break;
                if (pages.Runs[at].From != KnownFrom.Parent) count += part.Count;
            }
        }

        return count;
    }

    /// <summary>Takes out what any round gave to the store and is in none of these runs: unmapped, or given back by the process, since.</summary>
    /// <param name="mentioned">In address order.</param>
    public void DropAllBut(RunList<PlanRun> mentioned)
    {
        for (var round = pages; round is not null; round = round.Earlier) DropAllBut(round.Stored, mentioned);
    }

    private void DropAllBut(RunList<PageRange> stored, RunList<PlanRun> mentioned)
    {
        var next = 0;
        foreach (var range in stored)
            for (var at = range.Start; at.Number < range.End.Number;)
            {
                while (next < mentioned.Count && mentioned[next].Range.End.Number <= at.Number) next++;
                var known = next < mentioned.Count ? mentioned[next].Range : new PageRange(range.End, 0);
                if (known.Start.Number > at.Number)
                {
                    var gone = PageRange.Between(at, new VirtualPage(Math.Min(known.Start.Number, range.End.Number)));
                    inner.SetAbsent(gone);
                    at = gone.End;
                    continue;
                }

                at = new VirtualPage(Math.Max(at.Number, Math.Min(known.End.Number, range.End.Number)));
            }
    }
}
