using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>The GNU build id of an ELF64 file, elf(5): a hash the linker made of what it linked.</summary>
public static class BuildId
{
    private const int HeaderSize = 64;
    private const int ProgramHeaderSize = 56;
    private const int MaxProgramHeaders = 512;
    private const int MaxNoteBytes = 64 * 1024;
    private const int MaxIdBytes = 64;
    private const uint PtNote = 4;      // PT_NOTE
    private const uint NtGnuBuildId = 3; // NT_GNU_BUILD_ID

    /// <summary>Reads it; empty if the file is not ELF64 little-endian, is cut short or has none.</summary>
    /// <exception cref="IOException">The file can't be read.</exception>
    public static byte[] Read(SafeFileHandle file)
    {
        Span<byte> header = stackalloc byte[HeaderSize];
        if (!ReadFully(file, header, 0) || !header.StartsWith("\u007fELF\u0002\u0001"u8))
            return [];
        var offset = BinaryPrimitives.ReadInt64LittleEndian(header[32..]);
        int entrySize = BinaryPrimitives.ReadUInt16LittleEndian(header[54..]);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(header[56..]);
        if (entrySize != ProgramHeaderSize || count > MaxProgramHeaders || offset < HeaderSize)
            return [];
        var table = new byte[count * ProgramHeaderSize];
        if (!ReadFully(file, table, offset))
            return [];
        for (var i = 0; i < count; i++)
        {
            var entry = table.AsSpan(i * ProgramHeaderSize, ProgramHeaderSize);
            if (BinaryPrimitives.ReadUInt32LittleEndian(entry) != PtNote)
                continue;
            var noteOffset = BinaryPrimitives.ReadInt64LittleEndian(entry[8..]);
            var size = BinaryPrimitives.ReadUInt64LittleEndian(entry[32..]);
            if (size > MaxNoteBytes || noteOffset < 0)
                continue;
            var notes = new byte[(int)size];
            if (ReadFully(file, notes, noteOffset) && FindInNotes(notes) is { Length: > 0 } id)
                return id;
        }
        return [];
    }

    /// <summary>Finds it in the bytes of a note segment; empty if it isn't there.</summary>
    public static byte[] FindInNotes(ReadOnlySpan<byte> notes)
    {
        while (notes.Length >= 12)
        {
            var nameSize = BinaryPrimitives.ReadUInt32LittleEndian(notes);
            var descSize = BinaryPrimitives.ReadUInt32LittleEndian(notes[4..]);
            var type = BinaryPrimitives.ReadUInt32LittleEndian(notes[8..]);
            var nameEnd = 12 + Align4(nameSize);
            var end = nameEnd + Align4(descSize);
            if (nameEnd + descSize > (ulong)notes.Length)
                return [];
            if (type == NtGnuBuildId && nameSize == 4 && descSize is > 0 and <= MaxIdBytes && notes.Slice(12, 4).SequenceEqual("GNU\0"u8))
                return notes.Slice((int)nameEnd, (int)descSize).ToArray();
            if (end >= (ulong)notes.Length)
                return [];
            notes = notes[(int)end..];
        }
        return [];
    }

    private static ulong Align4(uint size) => ((ulong)size + 3) & ~3UL;

    private static bool ReadFully(SafeFileHandle file, Span<byte> destination, long offset)
    {
        while (!destination.IsEmpty)
        {
            var read = RandomAccess.Read(file, destination, offset);
            if (read == 0)
                return false;
            destination = destination[read..];
            offset += read;
        }
        return true;
    }
}
