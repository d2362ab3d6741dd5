using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Tests.Restore;

/// <summary>A checkpoint in plain memory: what the exporters are tested on, without a store.</summary>
internal sealed class FakeImage : ICheckpointImage
{
    private readonly SortedDictionary<(uint Space, ulong Page), byte[]?> pages = [];
    private readonly HashSet<(uint, ulong)> excluded = [];

    public FakeImage(params Process[] processes)
    {
        var body = new CheckpointBody { Crid = 7 };
        body.Processes.AddRange(processes);
        Manifest = new CheckpointManifest(new CheckpointHeader { Crid = 7, Series = "test" }, body);
    }

    public CheckpointManifest Manifest { get; }

    /// <summary>Called before each Read: for faults.</summary>
    public Action<PageRange>? BeforeRead { get; set; }

    /// <summary>The most pages that were read at once.</summary>
    public ulong LongestRead { get; private set; }

    public void SetPage(uint space, ulong address, ReadOnlySpan<byte> content) => SetShared(space, address, content.ToArray());

    /// <summary>The same without a copy.</summary>
    public void SetShared(uint space, ulong address, byte[] content) => pages[(space, address / VirtualPage.Size)] = content;

    public void SetZero(uint space, ulong address) => pages[(space, address / VirtualPage.Size)] = null;

    public void SetExcluded(uint space, ulong address)
    {
        pages[(space, address / VirtualPage.Size)] = null;
        excluded.Add((space, address / VirtualPage.Size));
    }

    public IEnumerable<PageSpan> Spans(SpaceId space, PageRange within)
    {
        foreach (var (key, content) in pages)
        {
            if (key.Space == space.Value && within.Contains(new VirtualPage(key.Page)))
                yield return new PageSpan(new PageRange(new VirtualPage(key.Page), 1), Kind(key, content));
        }
    }

    public void Read(SpaceId space, IReadOnlyList<PageTarget> targets)
    {
        LongestRead = Math.Max(LongestRead, targets.Aggregate(0UL, (sum, t) => sum + t.Range.Count));
        foreach (var target in targets)
        {
            if (target.Receiver is null)
            {
                Read(space, target.Range, target.Destination.Span);
                continue;
            }

            BeforeRead?.Invoke(target.Range);
            for (var page = target.Range.Start; page.Number < target.Range.End.Number; page += 1)
                if (pages.TryGetValue((space.Value, page.Number), out var content) && content is not null) target.Receiver.Receive(page, content);
        }
    }

    private void Read(SpaceId space, PageRange range, Span<byte> destination)
    {
        BeforeRead?.Invoke(range);
        if ((ulong)destination.Length != range.SizeBytes)
            throw new ArgumentException("destination has another size than the range");
        destination.Clear();
        for (ulong i = 0; i < range.Count; i++)
        {
            if (pages.TryGetValue((space.Value, range.Start.Number + i), out var content) && content is not null)
                content.CopyTo(destination[(int)(i * VirtualPage.Size)..]);
        }
    }

    public void Dispose()
    {
    }

    private PageKind Kind((uint, ulong) key, byte[]? content) =>
        excluded.Contains(key) ? PageKind.Excluded : content is null ? PageKind.Zero : PageKind.Chunk;
}
