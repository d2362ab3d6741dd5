using System.Buffers.Binary;
using System.Numerics;
using Crstore.Model;
using Crstore.Store.Codec;

namespace Crstore.Store.Frames;

/// <summary>How a frame's payload is stored.</summary>
public enum FrameCodec : byte
{
    /// <summary>As it is.</summary>
    None = 0,

    /// <summary>One zstd frame.</summary>
    Zstd = 1,

    /// <summary>The number of a dictionary (u64), and one zstd frame that only it unpacks.</summary>
    ZstdWithDictionary = 2,
}

/// <summary>
/// The bytes of a frame: a header of 12 bytes (version, codec, slots, 0, live bitmap u16, 0 u16, payload length u32), the
/// SHA-256 of each live slot's page in slot order (with a dictionary, where each byte counts: its first eight bytes, the page tells the others),
/// the payload (the live pages one behind the other, packed together), and a CRC-32C of all that, which starts from the frame's key. Little endian.
/// </summary>
internal static class FrameLayout
{
    internal const byte Version = 1;
    internal const int HeaderSize = 12;
    internal const int DictionaryIdSize = 8;
    internal const int HashStartSize = 8;

    /// <summary>Stored bytes of each content address.</summary>
    internal static int HashSize(FrameCodec codec) => codec == FrameCodec.ZstdWithDictionary ? HashStartSize : ContentHash.Size;

    internal static int Overhead(int live, FrameCodec codec) => HeaderSize + live * HashSize(codec) + Crc32C.Size;

    internal static void WriteHeader(Span<byte> frame, FrameCodec codec, int slots, ushort live, int payload)
    {
        frame[0] = Version;
        frame[1] = (byte)codec;
        frame[2] = (byte)slots;
        frame[3] = 0;
        BinaryPrimitives.WriteUInt16LittleEndian(frame[4..], live);
        BinaryPrimitives.WriteUInt16LittleEndian(frame[6..], 0);
        BinaryPrimitives.WriteInt32LittleEndian(frame[8..], payload);
    }

    internal static uint Checksum(FrameId id, ReadOnlySpan<byte> content) => Crc32C.Of(content, id.Crid.Value, id.Number);

    /// <summary>Position of a slot among the live ones.</summary>
    internal static int Rank(ushort live, int slot) => BitOperations.PopCount((uint)live & ((1u << slot) - 1));
}
