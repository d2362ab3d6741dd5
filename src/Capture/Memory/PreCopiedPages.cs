using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// What is known of the pages of one process after a round: those that the round found as they were, and those that it has read while the
/// process ran, after their tracker had been reset. Any other page has to be read by whoever comes next; so has any of these that was
/// written since. Of a random sample the content address is remembered, for the question whether the tracker lies.
/// Told in address order: <see cref="Keep"/> and <see cref="AddZero"/>, and apart from these the pages that were read; then <see cref="Complete"/>.
/// </summary>
/// <param name="earlier">The round before; null for the first one.</param>
/// <param name="expected">About how many pages this one will read.</param>
/// <param name="sampleShare">Share of them to remember.</param>
public sealed class PreCopiedPages(PreCopiedPages? earlier, ulong expected, double sampleShare)
{
    /// <summary>No round, nothing known.</summary>
    public static readonly PreCopiedPages None = new(null, 0, 0);

    private readonly RunList<KnownRun> _kept = new(64);
    private readonly RunList<KnownRun> _read = new(64);
    private readonly RunList<SampledPage> _keptSamples = new();
    private readonly RunList<SampledPage> _readSamples = new(64);
    private readonly RunList<PageRange> _stored = new();
    private readonly int _meanGap = (int)Math.Clamp(expected / SampleSet.SizeOf(expected, sampleShare), 1, int.MaxValue / 2);
    private int _gap = 1;
    private int _cursor;
    private int _sampleCursor;

    /// <summary>The round before.</summary>
    public PreCopiedPages? Earlier => earlier;

    /// <summary>In address order; after <see cref="Complete"/>.</summary>
    public RunList<KnownRun> Runs { get; } = new(64);

    /// <summary>Pages of <see cref="Runs"/> whose content is remembered, in address order.</summary>
    public RunList<SampledPage> Samples { get; } = new(64);

    /// <summary>What this round gave to the store, in address order: there it stays until something else is said of it.</summary>
    public RunList<PageRange> Stored => _stored;

    /// <summary>The same as a page map: what the next round may find unwritten and leave as it is.</summary>
    public IReadOnlyList<PageSpan> Spans
    {
        get
        {
            var spans = new List<PageSpan>();
            foreach (var run in Runs)
            {
                var kind = run.From == KnownFrom.Zero ? PageKind.Zero : PageKind.Chunk;
                if (spans.Count > 0 && spans[^1] is var last && last.Kind == kind && last.Range.End == run.Range.Start)
                    spans[^1] = last with { Range = new PageRange(last.Range.Start, last.Range.Count + run.Range.Count) };
                else
                    spans.Add(new PageSpan(run.Range, kind));
            }

            return spans;
        }
    }

    /// <summary>These pages are proven unwritten since the round before, or since the parent checkpoint if there was none.</summary>
    public void Keep(PageRange range)
    {
        if (earlier is null)
        {
            Append(_kept, new KnownRun(range, KnownFrom.Parent));
            return;
        }

        for (_cursor = earlier.FindRun(range.Start); _cursor < earlier.Runs.Count; _cursor++)
        {
            ref readonly var run = ref earlier.Runs[_cursor];
            var part = run.Range.Intersect(range);
            if (part.IsEmpty) break;
            Append(_kept, run.Cut(part));
        }

        for (; _sampleCursor < earlier.Samples.Count; _sampleCursor++)
        {
            ref readonly var sample = ref earlier.Samples[_sampleCursor];
            if (sample.Page.Number >= range.End.Number) break;
            if (range.Contains(sample.Page)) _keptSamples.Add(sample);
        }
    }

    /// <summary>Adds zero pages.</summary>
    public void AddZero(PageRange range) => Append(_kept, new KnownRun(range, KnownFrom.Zero));

    /// <summary>Adds pages that were read and given to the store.</summary>
    public void AddStored(VirtualPage first, ReadOnlySpan<byte> content)
    {
        var range = new PageRange(first, (ulong)(content.Length / VirtualPage.Size));
        _stored.Add(range);
        Append(_read, new KnownRun(range, KnownFrom.Store));
        Sample(first, content);
    }

    /// <summary>Adds pages that were read and wait in memory.</summary>
    public void AddHeld(VirtualPage first, int pages, in BufferPlace place)
    {
        var run = new KnownRun(new PageRange(first, (ulong)pages), KnownFrom.Memory, place.Segment, place.Offset);
        Append(_read, run);
        Sample(first, run.Content.Span);
    }

    /// <summary>The round is over.</summary>
    public void Complete()
    {
        var next = 0;
        foreach (var run in _read)
        {
            for (; next < _kept.Count && _kept[next].Range.Start.Number < run.Range.Start.Number; next++) Append(Runs, _kept[next]);
            Append(Runs, run);
        }

        for (; next < _kept.Count; next++) Append(Runs, _kept[next]);
        next = 0;
        foreach (var sample in _readSamples)
        {
            for (; next < _keptSamples.Count && _keptSamples[next].Page.Number < sample.Page.Number; next++) Samples.Add(_keptSamples[next]);
            Samples.Add(sample);
        }

        for (; next < _keptSamples.Count; next++) Samples.Add(_keptSamples[next]);
    }

    /// <summary>True if the page is as in the parent checkpoint.</summary>
    public bool IsFromParent(VirtualPage page)
    {
        var at = FindRun(page);
        return at < Runs.Count && Runs[at].Range.Contains(page) && Runs[at].From == KnownFrom.Parent;
    }

    /// <summary>Number of the first run that ends behind a page.</summary>
    public int FindRun(VirtualPage page)
    {
        int low = 0, high = Runs.Count;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (Runs[middle].Range.End.Number <= page.Number) low = middle + 1;
            else high = middle;
        }

        return low;
    }

    /// <summary>True if a sampled page has the content that was read.</summary>
    public bool Matches(VirtualPage page, ReadOnlySpan<byte> content)
    {
        int low = 0, high = Samples.Count;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (Samples[middle].Page.Number < page.Number) low = middle + 1;
            else high = middle;
        }

        return low < Samples.Count && Samples[low].Page == page && Samples[low].Hash == PageHash.Of(content);
    }

    private static void Append(RunList<KnownRun> runs, in KnownRun run)
    {
        if (runs.Count > 0 && runs[runs.Count - 1].ContinuesInto(run))
        {
            ref var last = ref runs[runs.Count - 1];
            last = last with { Range = new PageRange(last.Range.Start, last.Range.Count + run.Range.Count) };
            return;
        }

        runs.Add(run);
    }

    private void Sample(VirtualPage first, ReadOnlySpan<byte> content)
    {
        var count = content.Length / VirtualPage.Size;
        var at = _gap - 1;
        for (; at < count; at += 1 + Random.Shared.Next(2 * _meanGap - 1))
            _readSamples.Add(new SampledPage(first + (ulong)at, PageHash.Of(content.Slice(at * VirtualPage.Size, VirtualPage.Size))));
        _gap = at - count + 1;
    }
}

/// <summary>A page whose content is remembered.</summary>
/// <param name="Page">The page.</param>
/// <param name="Hash">Of the content that was read.</param>
public readonly record struct SampledPage(VirtualPage Page, ContentHash Hash);
