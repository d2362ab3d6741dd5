using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
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
    private const int Lane = 512, LaneWords = Lane / sizeof(ulong);
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
    // Compiled ahead of time, each step is two calls; and this runs over everything that is stored before it would be compiled anew.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Append(ReadOnlySpan<byte> bytes)
    {
        var state = _state;
        if (Pclmulqdq.IsSupported)
        {
            // Each step waits three cycles for the one before: three lanes side by side take as long as one.
            for (; bytes.Length >= 3 * Lane; bytes = bytes[(3 * Lane)..])
            {
                ref var word = ref MemoryMarshal.GetReference(MemoryMarshal.Cast<byte, ulong>(bytes));
                uint second = 0, third = 0;
                for (var i = 0; i < LaneWords; i++)
                {
                    state = BitOperations.Crc32C(state, Unsafe.Add(ref word, i));
                    second = BitOperations.Crc32C(second, Unsafe.Add(ref word, LaneWords + i));
                    third = BitOperations.Crc32C(third, Unsafe.Add(ref word, 2 * LaneWords + i));
                }

                state = BehindLane(BehindLane(state) ^ second) ^ third;
            }
        }

        foreach (var word in MemoryMarshal.Cast<byte, ulong>(bytes)) state = BitOperations.Crc32C(state, word);
        foreach (var b in bytes[(bytes.Length & -sizeof(ulong))..]) state = BitOperations.Crc32C(state, b);
        _state = state;
    }

    /// <summary>
    /// The state after a lane of zeros: times x^(8 · <see cref="Lane"/>) modulo the polynomial. The product of two reflected numbers lacks
    /// one bit of shift, and reducing its 64 bits shifts by 32 more: the factor leaves both out.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint BehindLane(uint state) =>
        BitOperations.Crc32C(0, Pclmulqdq.CarrylessMultiply(Vector128.CreateScalar((ulong)state), Vector128.CreateScalar((ulong)LaneFactor), 0).ToScalar());

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
