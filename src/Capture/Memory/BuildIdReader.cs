using System.Buffers.Binary;
using Crstore.Linux.Memory;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Capture.Memory;

/// <summary>Reads the build id (NT_GNU_BUILD_ID note, elf(5)) of a 64-bit little-endian ELF file.</summary>
public static class BuildIdReader
{
    private const int MaxNoteBytes = 64 * 1024;
    private const int MaxProgramHeaders = 128;

    /// <summary>The id, or nothing: not an ELF file, no note, not readable, or damaged.</summary>
    public static byte[] TryRead(string path)
    {
        if (RawFile.TryOpen(path, OpenFlags.NonBlock, 0, out var file) != 0) return [];
        using (file)
        {
            Span<byte> header = stackalloc byte[64];
            if (RawFile.TryReadAt(file!, header, 0) != 64 || !header.StartsWith("\x7f"u8) || !header[1..].StartsWith("ELF\x02\x01"u8)) return [];
            var tableOffset = BinaryPrimitives.ReadUInt64LittleEndian(header[32..]);
            var entrySize = BinaryPrimitives.ReadUInt16LittleEndian(header[54..]);
            var count = Math.Min(BinaryPrimitives.ReadUInt16LittleEndian(header[56..]), (ushort)MaxProgramHeaders);
            if (entrySize != 56) return [];
            Span<byte> entry = stackalloc byte[56];
            for (var i = 0; i < count; i++)
            {
                if (RawFile.TryReadAt(file!, entry, tableOffset + (ulong)i * entrySize) != 56) return [];
                if (BinaryPrimitives.ReadUInt32LittleEndian(entry) != 4 /* PT_NOTE */) continue;
                var id = FindInNotes(file!, BinaryPrimitives.ReadUInt64LittleEndian(entry[8..]), BinaryPrimitives.ReadUInt64LittleEndian(entry[32..]));
                if (id.Length > 0) return id;
            }

            return [];
        }
    }

    private static byte[] FindInNotes(SafeFileHandle file, ulong offset, ulong size)
    {
        var notes = new byte[(int)Math.Min(size, MaxNoteBytes)];
        var length = RawFile.TryReadAt(file, notes, offset);
        for (var at = 0; at + 12 <= length;)
        {
            var nameSize = BinaryPrimitives.ReadUInt32LittleEndian(notes.AsSpan(at));
            var descriptionSize = BinaryPrimitives.ReadUInt32LittleEndian(notes.AsSpan(at + 4));
            var type = BinaryPrimitives.ReadUInt32LittleEndian(notes.AsSpan(at + 8));
            if (nameSize > MaxNoteBytes || descriptionSize > MaxNoteBytes) return [];
            var description = at + 12 + (int)((nameSize + 3) & ~3u);
            if (description + descriptionSize > length) return [];
            if (type == 3 /* NT_GNU_BUILD_ID */ && notes.AsSpan(at + 12).StartsWith("GNU\0"u8) && descriptionSize is > 0 and <= 64)
                return notes.AsSpan(description, (int)descriptionSize).ToArray();
            at = description + (int)((descriptionSize + 3) & ~3u);
        }

        return [];
    }
}
