using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Crstore.Store.Codec;

/// <summary>
/// Reads stored bytes without ever throwing: the first thing that does not fit sets <see cref="Failed"/>, and everything
/// read from then on is 0. The caller turns it into an error that names the record.
/// </summary>
public ref struct ByteReader(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private int _position;

    /// <summary>Something did not fit.</summary>
    public bool Failed { get; private set; }

    /// <summary>All bytes were read.</summary>
    public readonly bool AtEnd => _position == _bytes.Length;

    /// <summary>One byte.</summary>
    public byte Byte()
    {
        if (Failed || AtEnd) return (byte)Fail();
        return _bytes[_position++];
    }

    /// <summary>Four bytes, little endian.</summary>
    public uint UInt32()
    {
        if (Failed || _bytes.Length - _position < sizeof(uint)) return (uint)Fail();
        var value = BinaryPrimitives.ReadUInt32LittleEndian(_bytes[_position..]);
        _position += sizeof(uint);
        return value;
    }

    /// <summary>
    /// An unsigned LEB128 number. Only its shortest form is accepted: one number, one encoding, so that equal maps have
    /// equal bytes.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)] // millions of them in a restore, most of them small
    public ulong Varint()
    {
        if (!Failed && _position < _bytes.Length && _bytes[_position] < 0x80) return _bytes[_position++];
        return LongVarint();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // as Crc32C.Append
    private ulong LongVarint()
    {
        ulong value = 0;
        for (var shift = 0; shift < 64; shift += 7)
        {
            if (Failed || AtEnd) return Fail();
            var b = _bytes[_position++];
            var bits = (ulong)(b & 0x7f);
            if (shift == 63 && bits > 1) return Fail();
            value |= bits << shift;
            if ((b & 0x80) == 0) return b == 0 && shift > 0 ? Fail() : value;
        }

        return Fail();
    }

    /// <summary>A signed number: zigzag, then <see cref="Varint"/>.</summary>
    public long SignedVarint()
    {
        var value = Varint();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    private ulong Fail()
    {
        Failed = true;
        return 0;
    }
}
