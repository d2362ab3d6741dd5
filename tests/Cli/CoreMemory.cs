using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Crstore.Tests.Cli;

/// <summary>Memory out of an ELF core by its program headers, elf(5); knows nothing of crstore.</summary>
internal static class CoreMemory
{
    private const int ProgramHeaderBytes = 56;
    private const int PtLoad = 1;

    /// <summary>SHA-256, in lower-case hex, of the bytes at an address; null if the core doesn't have all of them.</summary>
    public static string? Hash(string path, ulong address, int bytes) =>
        Read(path, address, bytes) is { } content ? Convert.ToHexStringLower(SHA256.HashData(content)) : null;

    /// <summary>The bytes at an address; null if the core doesn't have all of them.</summary>
    public static byte[]? Read(string path, ulong address, int bytes)
    {
        using var core = File.OpenRead(path);
        var header = ReadAt(core, 0, 64);
        var tableAt = BinaryPrimitives.ReadInt64LittleEndian(header.AsSpan(32));
        var count = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(56));
        var content = new byte[bytes];
        var (at, end) = (address, address + (ulong)bytes);
        for (var i = 0; i < count; i++)
        {
            var entry = ReadAt(core, tableAt + i * ProgramHeaderBytes, ProgramHeaderBytes).AsSpan();
            if (BinaryPrimitives.ReadInt32LittleEndian(entry) != PtLoad) continue;
            var offset = BinaryPrimitives.ReadInt64LittleEndian(entry[8..]);
            var start = BinaryPrimitives.ReadUInt64LittleEndian(entry[16..]);
            var length = BinaryPrimitives.ReadUInt64LittleEndian(entry[32..]);
            if (start > at || start + length <= at) continue; // headers are in address order
            var part = (int)Math.Min(end - at, start + length - at);
            ReadAt(core, offset + (long)(at - start), part).CopyTo(content, (int)(at - address));
            at += (ulong)part;
            if (at == end) return content;
        }

        return null;
    }

    private static byte[] ReadAt(FileStream core, long offset, int bytes)
    {
        var content = new byte[bytes];
        core.Position = offset;
        core.ReadExactly(content);
        return content;
    }
}
