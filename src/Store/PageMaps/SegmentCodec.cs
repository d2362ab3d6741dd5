using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Store.Codec;

namespace Crstore.Store.PageMaps;

/// <summary>A segment as it is stored.</summary>
/// <param name="Base">The full segment, of an older CRID, that it differs from; null if it is a full one.</param>
/// <param name="Extents">Maximal runs in address order: all of them, or those that differ.</param>
public readonly record struct StoredSegment(SegmentKey? Base, PageExtent[] Extents)
{
    /// <summary>Of a difference: bytes that it and those before it, back to the full one, have taken more than what was new in each.</summary>
    public int Excess { get; init; }
}

/// <summary>
/// The stored form of a segment: form (1 full, 2 difference), content, checksum. An extent is a varint of (length - 1) · 4 + kind; a chunk
/// extent adds the signed differences of its CRID and of its ordinal to where the previous chunk extent ended (at first: to
/// the writer's CRID and 0). A difference has in front the writer's CRID minus that of the full segment, the signed difference of their
/// spaces, and its excess; before each extent comes a varint of the pages that are as in the full one. There is exactly one encoding of each map, and
/// of each difference; everything else is damage.
/// </summary>
public static class SegmentCodec
{
    private const byte FullForm = 1;
    private const byte DifferenceForm = 2;

    /// <summary>Encodes maximal runs that cover all 512 pages.</summary>
    public static byte[] Encode(in SegmentKey key, ReadOnlySpan<PageExtent> extents)
    {
        var writer = new ByteWriter();
        Encode(key, extents, writer);
        return writer.Written.ToArray();
    }

    /// <summary>The same; the bytes are what the writer then has.</summary>
    /// <returns>How many they are.</returns>
    public static int Encode(in SegmentKey key, ReadOnlySpan<PageExtent> extents, ByteWriter writer)
    {
        writer.Clear();
        writer.Byte(FullForm);
        var chunks = new ChunkSteps(key);
        foreach (ref readonly var extent in extents) Write(writer, extent, ref chunks);
        return Finish(writer, key);
    }

    /// <summary>The full form takes no fewer bytes.</summary>
    public static int LeastBytes(ReadOnlySpan<PageExtent> extents)
    {
        var bytes = 1 + Crc32C.Size;
        foreach (ref readonly var extent in extents) bytes += extent.Kind == PageKind.Chunk ? 3 : 1;
        return bytes;
    }

    /// <summary>Encodes what differs from a full segment of an older CRID.</summary>
    /// <returns>How many bytes they are.</returns>
    public static int EncodeDifference(in SegmentKey key, in StoredSegment difference, ByteWriter writer)
    {
        var from = difference.Base!.Value;
        writer.Clear();
        writer.Byte(DifferenceForm);
        writer.Varint(key.Writer.Value - from.Writer.Value);
        writer.SignedVarint((long)key.Space.Value - from.Space.Value);
        writer.Varint((ulong)difference.Excess);
        var chunks = new ChunkSteps(key);
        var end = 0;
        foreach (ref readonly var extent in difference.Extents.AsSpan())
        {
            writer.Varint((ulong)(extent.Start - end));
            Write(writer, extent, ref chunks);
            end = extent.End;
        }

        return Finish(writer, key);
    }

    /// <summary>Decodes, accepting only what the encoders make.</summary>
    /// <exception cref="StoreDamagedException">The bytes are anything else, or belong to another key.</exception>
    public static StoredSegment Decode(in SegmentKey key, ReadOnlySpan<byte> bytes, FormatLimits? limits = null)
    {
        limits ??= FormatLimits.Default;
        if (bytes.Length > limits.MaxSegmentBytes) throw Damaged(key, $"{bytes.Length} bytes are more than {limits.MaxSegmentBytes}");
        if (bytes.Length < 1 + Crc32C.Size) throw Damaged(key, "too short");
        if (bytes[0] is not (FullForm or DifferenceForm)) throw Damaged(key, $"unknown form {bytes[0]}");
        var content = bytes[..^Crc32C.Size];
        if (Crc32C.Of(content, key.Writer.Value, key.Space.Value, key.Number) != BinaryPrimitives.ReadUInt32LittleEndian(bytes[^Crc32C.Size..]))
            throw Damaged(key, "wrong checksum");
        var reader = new ByteReader(content[1..]);
        if (bytes[0] == DifferenceForm) return Difference(key, ref reader, limits);
        var extents = Extents(key, ref reader, limits, gaps: false);
        if (extents.Length == 1 && extents[0].Kind != PageKind.Chunk) throw Damaged(key, "all pages alike: that is not stored as a segment");
        return new StoredSegment(null, extents);
    }

    private static StoredSegment Difference(in SegmentKey key, ref ByteReader reader, FormatLimits limits)
    {
        var age = reader.Varint();
        var space = unchecked((long)key.Space.Value - reader.SignedVarint());
        var excess = reader.Varint();
        if (reader.Failed || age == 0 || age >= key.Writer.Value || space is < 0 or > uint.MaxValue || excess > (ulong)limits.MaxSegmentBytes)
            throw Damaged(key, "it differs from nothing that can be");
        var from = new SegmentKey(new Crid(key.Writer.Value - age), new SpaceId((uint)space), key.Number);
        return new StoredSegment(from, Extents(key, ref reader, limits, gaps: true)) { Excess = (int)excess };
    }

    private static PageExtent[] Extents(in SegmentKey key, ref ByteReader reader, FormatLimits limits, bool gaps)
    {
        Span<PageExtent> extents = stackalloc PageExtent[Segment.Pages];
        var chunks = new ChunkSteps(key);
        int count = 0, pages = 0;
        while (gaps ? !reader.AtEnd : pages < Segment.Pages)
        {
            var gap = gaps ? reader.Varint() : 0;
            var head = reader.Varint();
            var length = (head >> 2) + 1;
            if (reader.Failed || gap > (ulong)(Segment.Pages - pages) || length > (ulong)(Segment.Pages - pages) - gap) throw Damaged(key, "its extents do not add up to 512 pages");
            if (count >= limits.MaxSegmentExtents) throw Damaged(key, $"more than {limits.MaxSegmentExtents} extents");
            pages += (int)gap;
            var kind = (PageKind)(head & 3);
            var first = default(ChunkLocation);
            if (kind == PageKind.Chunk && !chunks.Read(ref reader, (int)length, out first)) throw Damaged(key, "a chunk location out of range");
            extents[count] = new PageExtent((ushort)pages, (ushort)length, kind, first);
            if (count > 0 && gap == 0 && extents[count - 1].ContinuesInto(extents[count])) throw Damaged(key, "two extents that should be one");
            count++;
            pages += (int)length;
        }

        if (!reader.AtEnd || reader.Failed) throw Damaged(key, "bytes left over");
        return count > 0 ? extents[..count].ToArray() : throw Damaged(key, "it differs in nothing");
    }

    private static void Write(ByteWriter writer, in PageExtent extent, ref ChunkSteps chunks)
    {
        writer.Varint((ulong)(extent.Length - 1) << 2 | (byte)extent.Kind);
        if (extent.Kind == PageKind.Chunk) chunks.Write(writer, extent);
    }

    private static int Finish(ByteWriter writer, in SegmentKey key)
    {
        writer.Checksum(key.Writer.Value, key.Space.Value, key.Number);
        return writer.Written.Length;
    }

    private static StoreDamagedException Damaged(in SegmentKey key, string what) => new($"{key}: {what}");

    /// <summary>Where the chunk extent before ended: what the next one's location is told from.</summary>
    private struct ChunkSteps(in SegmentKey key)
    {
        private ulong _crid = key.Writer.Value;
        private long _ordinal;

        public void Write(ByteWriter writer, in PageExtent extent)
        {
            writer.SignedVarint(unchecked((long)(extent.First.Crid.Value - _crid)));
            writer.SignedVarint(extent.First.Ordinal - _ordinal);
            _crid = extent.First.Crid.Value;
            _ordinal = (long)extent.First.Ordinal + extent.Length;
        }

        public bool Read(ref ByteReader reader, int length, out ChunkLocation first)
        {
            first = default;
            _crid = unchecked(_crid + (ulong)reader.SignedVarint());
            var step = reader.SignedVarint();
            if (reader.Failed || _crid == 0 || step is < -(1L << 32) or > 1L << 32 || _ordinal + step < 0 || _ordinal + step + length > (long)uint.MaxValue + 1) return false;
            first = new ChunkLocation(new Crid(_crid), (uint)(_ordinal + step));
            _ordinal += step + length;
            return true;
        }
    }
}
