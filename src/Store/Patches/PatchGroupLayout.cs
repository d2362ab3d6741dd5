using System.Numerics;
using Crstore.Model;
using Crstore.Store.Codec;

namespace Crstore.Store.Patches;

/// <summary>
/// The bytes of a patch group: a header of 16 bytes (version, codec, slots, 0, live bitmap u64, payload length u32), the
/// SHA-256 of each live slot's page, the directory (per live slot, in varints, where its anchor is and how long its patch is),
/// the payload (the patches one behind the other, packed together), and a CRC-32C, which starts from the group's key.
/// </summary>
internal static class PatchGroupLayout
{
    internal const byte Version = 1;
    internal const int HeaderSize = 16;

    // Tells a group's checksum from that of a frame under the same numbers: "patc".
    private const ulong ChecksumMark = 0x70617463;

    internal static uint Checksum(PatchGroupId id, ReadOnlySpan<byte> content) => Crc32C.Of(content, id.Crid.Value, id.Number, ChecksumMark);

    /// <summary>Position of a slot among the live ones.</summary>
    internal static int Rank(ulong live, int slot) => BitOperations.PopCount(live & ((1UL << slot) - 1));

    /// <summary>Of the anchor before the first one.</summary>
    internal static ChunkLocation FirstReference(PatchGroupId id) => new(id.Crid, 0);
}
