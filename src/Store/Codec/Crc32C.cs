using System.Numerics;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Crstore.Store.Codec;

/// <summary>
/// CRC-32C (Castagnoli) of stored records. It starts from the record's own key, so that a record that turns up under
/// another key is damage as well. It guards against accidents; against a hand that wants to deceive there is SHA-256.
/// </summary>
public struct Crc32C
{
    private const uint Polynomial = 0x82f63b78; // Castagnoli's, bits reflected
    private const int Lane = 512;
    private static readonly uint LaneFactor = PowerOfX(8 * Lane - 33);
    private uint _state;

    /// <summary>Starts a checksum with the numbers that identify the record.</summary>
    public Crc32C(ulong key1, ulong key2 = 0, ulong key3 = 0)
    {
        _state = BitOperations.Crc32C(uint.MaxValue, key1);
        _state = BitOperations.Crc32C(_state, key2);
        _state = BitOperations.Crc32C(_state, key3);
    }

    /// <summary>Adds bytes.</summary>
    // By the processor's instructions themselves: this runs over everything that is stored.
    public unsafe void Append(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* first = bytes)
            _state = Sse42.X64.IsSupported && Pclmulqdq.IsSupported ? Fast(_state, first, bytes.Length) : Plain(_state, bytes);
    }

    private static uint Plain(uint state, ReadOnlySpan<byte> bytes)
    {
        foreach (var b in bytes) state = BitOperations.Crc32C(state, b);
        return state;
    }

    private static unsafe uint Fast(ulong state, byte* at, int length)
    {
        // Each step waits three cycles for the one before: three lanes side by side take as long as one.
        for (; length >= 3 * Lane; at += 3 * Lane, length -= 3 * Lane)
        {
            ulong second = 0, third = 0;
            for (var i = 0; i < Lane; i += sizeof(ulong))
            {
                state = Sse42.X64.Crc32(state, *(ulong*)(at + i));
                second = Sse42.X64.Crc32(second, *(ulong*)(at + Lane + i));
                third = Sse42.X64.Crc32(third, *(ulong*)(at + 2 * Lane + i));
            }

            state = BehindLane(BehindLane(state) ^ second) ^ third;
        }

        for (; length >= sizeof(ulong); at += sizeof(ulong), length -= sizeof(ulong)) state = Sse42.X64.Crc32(state, *(ulong*)at);
        for (; length > 0; at++, length--) state = Sse42.Crc32((uint)state, *at);
        return (uint)state;
    }

    /// <summary>
    /// The state after a lane of zeros: times x^(8 · <see cref="Lane"/>) modulo the polynomial. The product of two reflected numbers lacks
    /// one bit of shift, and reducing its 64 bits shifts by 32 more: the factor leaves both out.
    /// </summary>
    private static ulong BehindLane(ulong state) =>
        Sse42.X64.Crc32(0, Pclmulqdq.CarrylessMultiply(Vector128.CreateScalar(state), Vector128.CreateScalar((ulong)LaneFactor), 0).ToScalar());

    /// <summary>x^bits modulo the polynomial, bits reflected.</summary>
    private static uint PowerOfX(int bits)
    {
        var power = 0x80000000; // 1
        for (; bits > 0; bits--) power = (power & 1) == 0 ? power >> 1 : power >> 1 ^ Polynomial;
        return power;
    }

    /// <summary>The checksum so far.</summary>
    public readonly uint Value => ~_state;

    /// <summary>Bytes that a stored checksum takes.</summary>
    public const int Size = sizeof(uint);

    /// <summary>The checksum of a whole record.</summary>
    public static uint Of(ReadOnlySpan<byte> bytes, ulong key1, ulong key2 = 0, ulong key3 = 0)
    {
        var crc = new Crc32C(key1, key2, key3);
        crc.Append(bytes);
        return crc.Value;
    }
}
