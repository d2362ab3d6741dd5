using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>A first round over one process, for the round that freezes it.</summary>
/// <param name="Pages">What was saved.</param>
/// <param name="Link">The round, as the parent of the next one: its mappings, and the proof that nobody else reset the tracker since.</param>
/// <param name="Vmas">Its mappings, which need not be looked at anew.</param>
/// <param name="Record">The target's continuity record, still locked: no other capture gets in between.</param>
public sealed record PreCopiedRound(PreCopiedPages Pages, ParentLink Link, VmaPlan Vmas, ContinuityRecord? Record);

/// <summary>
/// The pages of one process that were saved while it ran, after its tracker had been armed: what the freeze finds unwritten
/// since is saved already. Pages come in address order. Of a random sample the content address is remembered, for the
/// question whether the tracker lies.
/// </summary>
/// <param name="expected">About how many pages there will be.</param>
/// <param name="sampleShare">Share of them to remember.</param>
public sealed class PreCopiedPages(ulong expected, double sampleShare)
{
    private readonly List<PageSpan> _spans = [];
    private readonly List<VirtualPage> _sampled = [];
    private readonly List<ContentHash> _hashes = [];
    private readonly int _meanGap = (int)Math.Clamp(expected / SampleSet.SizeOf(expected, sampleShare), 1, int.MaxValue / 2);
    private int _gap = 1;

    /// <summary>In address order; chunks and zero pages.</summary>
    public IReadOnlyList<PageSpan> Spans => _spans;

    /// <summary>The pages whose content is remembered, in address order.</summary>
    public IReadOnlyList<VirtualPage> Sampled => _sampled;

    /// <summary>Adds pages that were saved.</summary>
    public void Add(VirtualPage first, ReadOnlySpan<byte> content)
    {
        var count = content.Length / VirtualPage.Size;
        AddSpan(new PageRange(first, (ulong)count), PageKind.Chunk);
        var at = _gap - 1;
        for (; at < count; at += 1 + Random.Shared.Next(2 * _meanGap - 1))
        {
            _sampled.Add(first + (ulong)at);
            _hashes.Add(PageHash.Of(content.Slice(at * VirtualPage.Size, VirtualPage.Size)));
        }

        _gap = at - count + 1;
    }

    /// <summary>Adds zero pages.</summary>
    public void AddZero(PageRange range) => AddSpan(range, PageKind.Zero);

    /// <summary>True if a sampled page has the content that was saved.</summary>
    public bool Matches(VirtualPage page, ReadOnlySpan<byte> content)
    {
        var at = _sampled.BinarySearch(page);
        return at >= 0 && _hashes[at] == PageHash.Of(content);
    }

    private void AddSpan(PageRange range, PageKind kind)
    {
        if (_spans.Count > 0 && _spans[^1] is var last && last.Kind == kind && last.Range.End == range.Start)
            _spans[^1] = last with { Range = new PageRange(last.Range.Start, last.Range.Count + range.Count) };
        else
            _spans.Add(new PageSpan(range, kind));
    }
}
