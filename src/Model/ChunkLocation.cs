namespace Crstore.Model;

/// <summary>
/// Where a chunk lies for ever: the CRID that first stored it and its ordinal there, in capture order. Chunks are
/// compressed together in frames of <see cref="SlotsPerFrame"/>; consecutive ordinals cross frames seamlessly. Ordinals from
/// <see cref="FirstPatch"/> on are patches: chunks stored as what differs from another one, in groups of their own.
/// </summary>
public readonly record struct ChunkLocation(Crid Crid, uint Ordinal)
{
    /// <summary>Chunks in a frame (64 KiB raw: larger ones gained 4 % and doubled page latency).</summary>
    public const int SlotsPerFrame = 16;

    /// <summary>The ordinal of a CRID's first patch. Full pages have lower ones: 2^31 of them, 8 TiB.</summary>
    public const uint FirstPatch = 1u << 31;

    /// <summary>True if the chunk is stored as a patch.</summary>
    public bool IsPatch => Ordinal >= FirstPatch;

    /// <summary>Frame number within the CRID.</summary>
    public uint Frame => Ordinal / SlotsPerFrame;

    /// <summary>Slot within the frame, 0 to 15.</summary>
    public int Slot => (int)(Ordinal % SlotsPerFrame);
}
