namespace Crstore.Model;

/// <summary>Pages to read and where to.</summary>
/// <param name="Range">Pages.</param>
/// <param name="Destination">Exactly their size.</param>
public readonly record struct PageTarget(PageRange Range, Memory<byte> Destination);

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
