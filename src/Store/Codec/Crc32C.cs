using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Crstore.Store.Codec;

/// <summary>
/// CRC-32C (Castagnoli) of stored records. It starts from the record's own key, so that a record that turns up under
/// another key is damage as well. It guards against accidents; against a hand that wants to deceive there is SHA-256.
/// </summary>
public struct Crc32C
{
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
        foreach (var word in MemoryMarshal.Cast<byte, ulong>(bytes)) state = BitOperations.Crc32C(state, word);
        foreach (var b in bytes[(bytes.Length & -sizeof(ulong))..]) state = BitOperations.Crc32C(state, b);
        _state = state;
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
