using System.Buffers.Binary;

namespace Crstore.Linux.Proc;

/// <summary>/proc/PID/auxv: pairs of 64-bit words, ended by AT_NULL; getauxval(3).</summary>
public static class AuxVector
{
#pragma warning disable CS1591 // names are the documentation: elf.h
    public const ulong AtNull = 0, AtPhdr = 3, AtBase = 7, AtEntry = 9, AtRandom = 25, AtSysinfoEhdr = 33;
#pragma warning restore CS1591

    /// <summary>The value of a key, or null if it isn't there.</summary>
    /// <exception cref="InvalidDataException">Cut short: no AT_NULL, or half a pair. Empty is allowed (kernel threads, zombies).</exception>
    public static ulong? Find(ReadOnlySpan<byte> auxv, ulong key)
    {
        ulong? found = null;
        var rest = auxv;
        while (rest.Length >= 16)
        {
            var type = BinaryPrimitives.ReadUInt64LittleEndian(rest);
            if (type == AtNull)
                return found;
            if (type == key && found is null)
                found = BinaryPrimitives.ReadUInt64LittleEndian(rest[8..]);
            rest = rest[16..];
        }
        return auxv.IsEmpty ? null : throw new InvalidDataException($"/proc/PID/auxv is cut short after {auxv.Length} bytes");
    }
}
