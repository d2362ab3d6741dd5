using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Store.Codec;

namespace Crstore.Store.PageMaps;

/// <summary>
/// The stored form of a segment: version, extents, checksum. An extent is a varint of (length - 1) · 4 + kind; a chunk
/// extent adds the signed differences of its CRID and of its ordinal to where the previous chunk extent ended (at first: to
/// the writer's CRID and 0). There is exactly one encoding of each map; everything else is damage.
/// </summary>
public static class SegmentCodec
{
    private const byte Version = 1;

    /// <summary>Encodes maximal runs that cover all 512 pages.</summary>
    public static byte[] Encode(in SegmentKey key, ReadOnlySpan<PageExtent> extents, ByteWriter? buffer = null)
    {
        var writer = buffer ?? new ByteWriter();
        writer.Clear();
        writer.Byte(Version);
        var crid = key.Writer.Value;
        long ordinal = 0;
        foreach (ref readonly var extent in extents)
        {
            writer.Varint((ulong)(extent.Length - 1) << 2 | (byte)extent.Kind);
            if (extent.Kind != PageKind.Chunk) continue;
            writer.SignedVarint(unchecked((long)(extent.First.Crid.Value - crid)));
            writer.SignedVarint(extent.First.Ordinal - ordinal);
            crid = extent.First.Crid.Value;
            ordinal = (long)extent.First.Ordinal + extent.Length;
        }

        writer.Checksum(key.Writer.Value, key.Space.Value, key.Number);
        return writer.Written.ToArray();
    }

    /// <summary>Decodes, accepting only what <see cref="Encode"/> makes.</summary>
    /// <exception cref="StoreDamagedException">The bytes are anything else, or belong to another key.</exception>
    public static Segment Decode(in SegmentKey key, ReadOnlySpan<byte> bytes, FormatLimits? limits = null)
    {
        limits ??= FormatLimits.Default;
        if (bytes.Length > limits.MaxSegmentBytes) throw Damaged(key, $"{bytes.Length} bytes are more than {limits.MaxSegmentBytes}");
        if (bytes.Length < 1 + Crc32C.Size) throw Damaged(key, "too short");
        if (bytes[0] != Version) throw Damaged(key, $"unknown version {bytes[0]}");
        var content = bytes[..^Crc32C.Size];
        if (Crc32C.Of(content, key.Writer.Value, key.Space.Value, key.Number) != BinaryPrimitives.ReadUInt32LittleEndian(bytes[^Crc32C.Size..]))
            throw Damaged(key, "wrong checksum");
        return new Segment(key.Number, Extents(key, content[1..], limits));
    }

    private static PageExtent[] Extents(in SegmentKey key, ReadOnlySpan<byte> content, FormatLimits limits)
    {
        Span<PageExtent> extents = stackalloc PageExtent[Segment.Pages];
        var reader = new ByteReader(content);
        var crid = key.Writer.Value;
        long ordinal = 0;
        int count = 0, pages = 0;
        while (pages < Segment.Pages)
        {
            var head = reader.Varint();
            var length = (head >> 2) + 1;
            if (reader.Failed || length > (ulong)(Segment.Pages - pages)) throw Damaged(key, "its extents do not add up to 512 pages");
            if (count >= limits.MaxSegmentExtents) throw Damaged(key, $"more than {limits.MaxSegmentExtents} extents");
            var kind = (PageKind)(head & 3);
            var first = default(ChunkLocation);
            if (kind == PageKind.Chunk)
            {
                crid = unchecked(crid + (ulong)reader.SignedVarint());
                var step = reader.SignedVarint();
                if (reader.Failed || crid == 0 || step is < -(1L << 32) or > 1L << 32 || ordinal + step < 0 ||
                    ordinal + step + (long)length > (long)uint.MaxValue + 1)
                    throw Damaged(key, "a chunk location out of range");
                first = new ChunkLocation(new Crid(crid), (uint)(ordinal + step));
                ordinal += step + (long)length;
            }

            extents[count] = new PageExtent((ushort)pages, (ushort)length, kind, first);
            if (count > 0 && extents[count - 1].ContinuesInto(extents[count])) throw Damaged(key, "two extents that should be one");
            count++;
            pages += (int)length;
        }

        if (!reader.AtEnd) throw Damaged(key, "bytes left over");
        if (count == 1 && extents[0].Kind != PageKind.Chunk) throw Damaged(key, "all pages alike: that is not stored as a segment");
        return extents[..count].ToArray();
    }

    private static StoreDamagedException Damaged(in SegmentKey key, string what) => new($"{key}: {what}");
}
