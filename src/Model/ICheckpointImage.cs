namespace Crstore.Model;

/// <summary>Takes pages as they are read, while they are still in the processor's cache: from many threads at once, in any order.</summary>
public interface IPageReceiver
{
    /// <summary>Consecutive pages, checked against their content addresses.</summary>
    /// <param name="first">The first one.</param>
    /// <param name="pages">Whole pages; only valid during the call.</param>
    void Receive(VirtualPage first, ReadOnlySpan<byte> pages);
}

/// <summary>Pages to read and where to.</summary>
/// <param name="Range">Pages.</param>
/// <param name="Destination">Exactly their size; empty if there is a receiver.</param>
/// <param name="Receiver">Gets the chunk pages, and none of the others.</param>
public readonly record struct PageTarget(PageRange Range, Memory<byte> Destination, IPageReceiver? Receiver = null);

/// <summary>
/// A committed checkpoint, readable at random: the image source that every exporter works from. Bytes are checked
/// against their content address on the way out. No chain is ever walked.
/// </summary>
public interface ICheckpointImage : IDisposable
{
    /// <summary>Header and body.</summary>
    CheckpointManifest Manifest { get; }

    /// <summary>Runs of the page map within a range, in address order, without the absent ones.</summary>
    IEnumerable<PageSpan> Spans(SpaceId space, PageRange within);

    /// <summary>
    /// Reads whole pages, all targets at once: in a long chain the pages of one stored frame are scattered, and each call
    /// unpacks a frame once. Chunk pages give their content, all others (zero, absent, excluded) give zeros: what an absent
    /// page of a file mapping holds is for the caller to find out.
    /// </summary>
    /// <param name="space">Address space.</param>
    /// <param name="targets">What to read and where to; the destinations don't overlap.</param>
    /// <exception cref="StoreDamagedException">A frame is missing or its content is not what its address says; names CRID and page.</exception>
    void Read(SpaceId space, IReadOnlyList<PageTarget> targets);

    /// <summary>The same for one range.</summary>
    void Read(SpaceId space, PageRange range, Memory<byte> destination) => Read(space, [new PageTarget(range, destination)]);
}
