using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Store.Codec;

namespace Crstore.Store.PageMaps;

/// <summary>A run of segments that one checkpoint wrote, or whose pages are all alike.</summary>
/// <param name="First">First segment's number.</param>
/// <param name="Count">Segments.</param>
/// <param name="Uniform"><see cref="PageKind.Zero"/> or <see cref="PageKind.Excluded"/>: all pages are that, and nothing is stored.</param>
/// <param name="Writer">The CRID under which the segments are stored.</param>
/// <param name="Space">The space's number in that CRID.</param>
public readonly record struct RootEntry(ulong First, ulong Count, PageKind? Uniform, Crid Writer, SpaceId Space)
{
    /// <summary>Number behind the last segment.</summary>
    public ulong End => First + Count;

    /// <summary>The pages it covers.</summary>
    public PageRange Range => Segment.RangeOf(First, Count);

    /// <summary>Where one of its segments is stored.</summary>
    public SegmentKey Key(ulong segment) => new(Writer, Space, segment);

    /// <summary>True if both say the same of the segments they have in common.</summary>
    public bool SameContent(in RootEntry other) => Uniform == other.Uniform && Writer == other.Writer && Space == other.Space;
}

/// <summary>
/// The stored form of a root, the page map of one address space at one CRID: version, number of entries, entries, checksum.
/// An entry is the varints of its distance from the previous one and of (count - 1) · 4 + kind, and for stored segments
/// the signed differences of CRID and space to the previous stored entry's (at first: to the root's own). Kinds: 0 stored,
/// 1 all zero, 3 all excluded. There is exactly one encoding of each root.
/// </summary>
public static class RootCodec
{
    private const byte Version = 1;
    private const byte StoredKind = 0;

    // Keeps the checksums of a root and of a segment apart, whatever their keys.
    private const ulong RootMark = ulong.MaxValue;

    /// <summary>Encodes sorted entries that do not overlap.</summary>
    public static byte[] Encode(Crid crid, SpaceId space, IReadOnlyCollection<RootEntry> entries)
    {
        var writer = new ByteWriter();
        writer.Byte(Version);
        writer.Varint((ulong)entries.Count);
        ulong position = 0, lastCrid = crid.Value;
        long lastSpace = space.Value;
        foreach (var entry in entries)
        {
            writer.Varint(entry.First - position);
            writer.Varint((entry.Count - 1) << 2 | (byte)(entry.Uniform ?? PageKind.Absent));
            position = entry.End;
            if (entry.Uniform is not null) continue;
            writer.SignedVarint(unchecked((long)(entry.Writer.Value - lastCrid)));
            writer.SignedVarint(entry.Space.Value - lastSpace);
            (lastCrid, lastSpace) = (entry.Writer.Value, entry.Space.Value);
        }

        writer.Checksum(crid.Value, space.Value, RootMark);
        return writer.Written.ToArray();
    }

    /// <summary>Decodes, accepting only what <see cref="Encode"/> makes.</summary>
    /// <exception cref="StoreDamagedException">The bytes are anything else, or belong to another CRID or space.</exception>
    public static RootEntry[] Decode(Crid crid, SpaceId space, ReadOnlySpan<byte> bytes, FormatLimits? limits = null)
    {
        limits ??= FormatLimits.Default;
        if (bytes.Length > limits.MaxRootBytes) throw Damaged(crid, space, $"{bytes.Length} bytes are more than {limits.MaxRootBytes}");
        if (bytes.Length < 1 + Crc32C.Size) throw Damaged(crid, space, bytes.IsEmpty ? "missing" : "too short");
        if (bytes[0] != Version) throw Damaged(crid, space, $"unknown version {bytes[0]}");
        var content = bytes[..^Crc32C.Size];
        if (Crc32C.Of(content, crid.Value, space.Value, RootMark) != BinaryPrimitives.ReadUInt32LittleEndian(bytes[^Crc32C.Size..]))
            throw Damaged(crid, space, "wrong checksum");
        return Entries(crid, space, content[1..], limits);
    }

    private static RootEntry[] Entries(Crid crid, SpaceId space, ReadOnlySpan<byte> content, FormatLimits limits)
    {
        var reader = new ByteReader(content);
        var count = reader.Varint();
        if (count > (ulong)limits.MaxRootEntries || count > (ulong)content.Length / 2)
            throw Damaged(crid, space, $"{count} entries are more than there can be");
        var entries = new RootEntry[count];
        ulong position = 0, writer = crid.Value, end = limits.MaxPageNumber >> Segment.Shift;
        long writerSpace = space.Value;
        for (var i = 0; i < entries.Length; i++)
        {
            var gap = reader.Varint();
            var head = reader.Varint();
            var (length, kind) = ((head >> 2) + 1, (byte)(head & 3));
            if (reader.Failed || gap > end - position || length > end - position - gap)
                throw Damaged(crid, space, "an entry beyond the address space");
            if (kind == (byte)PageKind.Chunk) throw Damaged(crid, space, "an entry of an unknown kind");
            var entry = new RootEntry(position + gap, length, (PageKind)kind, Crid.None, default);
            if (kind == StoredKind)
            {
                writer = unchecked(writer + (ulong)reader.SignedVarint());
                var step = reader.SignedVarint();
                if (reader.Failed || writer == 0 || step is < -(1L << 32) or > 1L << 32 || writerSpace + step is < 0 or > uint.MaxValue)
                    throw Damaged(crid, space, "an entry that refers to no CRID and space");
                writerSpace += step;
                entry = entry with { Uniform = null, Writer = new Crid(writer), Space = new SpaceId((uint)writerSpace) };
            }

            if (i > 0 && gap == 0 && entries[i - 1].SameContent(entry)) throw Damaged(crid, space, "two entries that should be one");
            entries[i] = entry;
            position = entry.End;
        }

        return reader.AtEnd && !reader.Failed ? entries : throw Damaged(crid, space, "bytes left over");
    }

    private static StoreDamagedException Damaged(Crid crid, SpaceId space, string what) =>
        new($"page-map root of CRID {crid}, space {space}: {what}");
}
