namespace Crstore.Model;

/// <summary>
/// A committed checkpoint, readable at random: the image source that every exporter works from. Bytes are checked
/// against their content address on the way out. Any chain length costs the same.
/// </summary>
public interface ICheckpointImage : IDisposable
{
    /// <summary>Header and body.</summary>
    CheckpointManifest Manifest { get; }

    /// <summary>Runs of the page map within a range, in address order, without the absent ones.</summary>
    IEnumerable<PageSpan> Spans(SpaceId space, PageRange within);

    /// <summary>
    /// Reads whole pages. Chunk pages give their content, all others (zero, absent, excluded) give zeros: what an absent
    /// page of a file mapping holds is for the caller to find out.
    /// </summary>
    /// <param name="space">Address space.</param>
    /// <param name="range">Pages; the destination has exactly their size.</param>
    /// <param name="destination">Where to.</param>
    /// <exception cref="StoreDamagedException">A frame is missing or its content is not what its address says; names CRID and page.</exception>
    void Read(SpaceId space, PageRange range, Span<byte> destination);
}
