using System.Buffers.Binary;

namespace Crstore.Store.Codec;

/// <summary>Writes what <see cref="ByteReader"/> reads.</summary>
public sealed class ByteWriter
{
    private byte[] _bytes = new byte[256];
    private int _length;

    /// <summary>What was written.</summary>
    public ReadOnlySpan<byte> Written => _bytes.AsSpan(0, _length);

    /// <summary>Starts over, keeping the buffer.</summary>
    public void Clear() => _length = 0;

    /// <summary>One byte.</summary>
    public void Byte(byte value) => Grow(1)[0] = value;

    /// <summary>Four bytes, little endian.</summary>
    public void UInt32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Grow(sizeof(uint)), value);

    /// <summary>Bytes as they are.</summary>
    public void Bytes(ReadOnlySpan<byte> value) => value.CopyTo(Grow(value.Length));

    /// <summary>Unsigned LEB128, shortest form.</summary>
    public void Varint(ulong value)
    {
        while (value >= 0x80)
        {
            Byte((byte)(value | 0x80));
            value >>= 7;
        }

        Byte((byte)value);
    }

    /// <summary>Zigzag, then <see cref="Varint"/>.</summary>
    public void SignedVarint(long value) => Varint((ulong)(value << 1) ^ (ulong)(value >> 63));

    /// <summary>Appends the checksum of all that was written.</summary>
    public void Checksum(ulong key1, ulong key2, ulong key3 = 0) => UInt32(Crc32C.Of(Written, key1, key2, key3));

    private Span<byte> Grow(int count)
    {
        if (_bytes.Length - _length < count) Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _length + count));
        _length += count;
        return _bytes.AsSpan(_length - count, count);
    }
}
