using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Store.Codec;
using Crstore.Store.Frames;
using Crstore.Store.Native;

namespace Crstore.Store.Dictionaries;

/// <summary>
/// The record of a part of a dictionary: a header of 8 bytes (version, codec, u16 0, u32 bytes of the whole dictionary), the part's bytes, packed by themselves,
/// and a CRC-32C, which starts from the record's key. Little endian. In parts, so that damage to one costs only the pages that are made from it.
/// </summary>
internal static class DictionaryPiece
{
    /// <summary>Bytes of each part but the last, unpacked.</summary>
    public const int Size = 4 << 20;

    private const byte Version = 1;
    private const int HeaderSize = 8;
    private const int Level = 19;
    private const ulong ChecksumMark = 0x64696374; // "dict"

    /// <summary>Parts of a dictionary of a size.</summary>
    public static int CountOf(int dictionaryBytes) => (dictionaryBytes + Size - 1) / Size;

    /// <summary>Makes the record of one part.</summary>
    public static byte[] Encode(DictionaryId id, uint number, ReadOnlySpan<byte> dictionary)
    {
        var part = Of(dictionary, number);
        var work = new byte[HeaderSize + ZstdCompressor.Bound(part.Length) + Crc32C.Size];
        var length = ZstdCompressor.ThisThread.Wrap(part, work.AsSpan(HeaderSize..^Crc32C.Size), Level);
        var codec = length < part.Length ? FrameCodec.Zstd : FrameCodec.None;
        if (codec == FrameCodec.None)
        {
            part.CopyTo(work.AsSpan(HeaderSize));
            length = part.Length;
        }

        work[0] = Version;
        work[1] = (byte)codec;
        BinaryPrimitives.WriteInt32LittleEndian(work.AsSpan(4), dictionary.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(work.AsSpan(HeaderSize + length), Checksum(id, number, work.AsSpan(0, HeaderSize + length)));
        return work[..(HeaderSize + length + Crc32C.Size)];
    }

    /// <summary>Bytes of the whole dictionary, from the record of any of its parts.</summary>
    /// <exception cref="StoreDamagedException">It is no such record.</exception>
    public static int DictionaryBytes(DictionaryId id, uint number, ReadOnlySpan<byte> record)
    {
        if (record.Length <= HeaderSize + Crc32C.Size) throw Damaged(id, number, record.IsEmpty ? "missing" : "too short");
        if (record[0] != Version) throw Damaged(id, number, $"unknown version {record[0]}");
        if (record[2] != 0 || record[3] != 0) throw Damaged(id, number, "reserved bytes that are not 0");
        if (Checksum(id, number, record[..^Crc32C.Size]) != BinaryPrimitives.ReadUInt32LittleEndian(record[^Crc32C.Size..])) throw Damaged(id, number, "wrong checksum");
        var bytes = BinaryPrimitives.ReadUInt32LittleEndian(record[4..]);
        return bytes >= 1 && bytes <= FormatLimits.Default.MaxDictionaryBytes && number < CountOf((int)bytes) ? (int)bytes : throw Damaged(id, number, $"part of {bytes} bytes");
    }

    /// <summary>Unpacks a part to its place.</summary>
    /// <exception cref="StoreDamagedException">It is no such record, or of a dictionary of another size.</exception>
    public static void Decode(DictionaryId id, uint number, ReadOnlySpan<byte> record, Span<byte> dictionary)
    {
        if (DictionaryBytes(id, number, record) != dictionary.Length) throw Damaged(id, number, "of another size than the other pieces say");
        var start = (int)number * Size;
        var part = dictionary.Slice(start, Math.Min(Size, dictionary.Length - start));
        var payload = record[HeaderSize..^Crc32C.Size];
        switch ((FrameCodec)record[1])
        {
            case FrameCodec.None when payload.Length == part.Length:
                payload.CopyTo(part);
                break;
            case FrameCodec.Zstd:
                var length = ZstdDecompressor.ThisThread.Unwrap(payload, part, out var error);
                if (length != part.Length) throw Damaged(id, number, length < 0 ? $"zstd: {error}" : $"unpacks to {length} bytes instead of {part.Length}");
                break;
            default:
                throw Damaged(id, number, $"codec {record[1]} with {payload.Length} bytes");
        }
    }

    private static ReadOnlySpan<byte> Of(ReadOnlySpan<byte> dictionary, uint number)
    {
        var start = (int)number * Size;
        return dictionary.Slice(start, Math.Min(Size, dictionary.Length - start));
    }

    private static uint Checksum(DictionaryId id, uint number, ReadOnlySpan<byte> content) => Crc32C.Of(content, id.Value, number, ChecksumMark);

    private static StoreDamagedException Damaged(DictionaryId id, uint number, string what) => new($"{id}, piece {number}: {what}");
}
