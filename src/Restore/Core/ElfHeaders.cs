using System.Buffers.Binary;
using Crstore.Model;

namespace Crstore.Restore;

/// <summary>The headers of an ELF64 core file for x86-64, elf(5).</summary>
internal static class ElfHeaders
{
    private const int HeaderSize = 64;
    private const int ProgramHeaderSize = 56;
    private const int SectionHeaderSize = 64;
    private const int PnXnum = 0xffff;   // PN_XNUM: the real count is in section header 0
    private const ushort TypeCore = 4;   // ET_CORE
    private const ushort MachineX8664 = 62; // EM_X86_64
    private const uint PtLoad = 1;
    private const uint PtNote = 4;

    /// <summary>Size of all headers, and so the offset of the notes.</summary>
    internal static ulong Size(int segments) =>
        HeaderSize + ((ulong)(segments + 1) * ProgramHeaderSize) + (segments + 1 >= PnXnum ? (ulong)SectionHeaderSize : 0);

    /// <summary>
    /// Builds ELF header, program headers (PT_NOTE, then a PT_LOAD per segment) and, for 0xffff program headers or more,
    /// section header 0 that holds their number.
    /// </summary>
    /// <param name="segments">Loads, in address order.</param>
    /// <param name="noteBytes">Size of the notes, which follow the headers.</param>
    /// <param name="dataOffset">Where the first load's content lies; the others follow without gaps.</param>
    internal static byte[] Build(IReadOnlyList<CoreSegment> segments, ulong noteBytes, ulong dataOffset)
    {
        var size = Size(segments.Count);
        var bytes = new byte[size];
        var headers = segments.Count + 1;
        var extended = headers >= PnXnum;
        WriteElfHeader(bytes, headers, extended ? size - SectionHeaderSize : 0);
        WriteProgramHeader(bytes.AsSpan(HeaderSize), PtNote, 0, size, 0, noteBytes, 0, 4);
        var offset = dataOffset;
        for (var i = 0; i < segments.Count; i++)
        {
            var s = segments[i];
            var inFile = s.FilePages << VirtualPage.Shift;
            WriteProgramHeader(bytes.AsSpan(HeaderSize + ((i + 1) * ProgramHeaderSize)), PtLoad, Flags(s.Vma.Protection), offset,
                s.Range.Start.Address, inFile, s.Range.SizeBytes, VirtualPage.Size);
            offset += inFile;
        }
        if (extended)
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan((int)size - SectionHeaderSize + 44), (uint)headers); // sh_info
        return bytes;
    }

    private static void WriteElfHeader(Span<byte> to, int headers, ulong sectionOffset)
    {
        "\u007fELF\u0002\u0001\u0001"u8.CopyTo(to); // 64 bit, little endian, version 1, System V
        BinaryPrimitives.WriteUInt16LittleEndian(to[16..], TypeCore);
        BinaryPrimitives.WriteUInt16LittleEndian(to[18..], MachineX8664);
        BinaryPrimitives.WriteUInt32LittleEndian(to[20..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(to[32..], HeaderSize);
        BinaryPrimitives.WriteUInt64LittleEndian(to[40..], sectionOffset);
        BinaryPrimitives.WriteUInt16LittleEndian(to[52..], HeaderSize);
        BinaryPrimitives.WriteUInt16LittleEndian(to[54..], ProgramHeaderSize);
        BinaryPrimitives.WriteUInt16LittleEndian(to[56..], (ushort)Math.Min(headers, PnXnum));
        if (sectionOffset == 0)
            return;
        BinaryPrimitives.WriteUInt16LittleEndian(to[58..], SectionHeaderSize);
        BinaryPrimitives.WriteUInt16LittleEndian(to[60..], 1);
    }

    private static void WriteProgramHeader(Span<byte> to, uint type, uint flags, ulong offset, ulong address, ulong fileSize, ulong memorySize, ulong align)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(to, type);
        BinaryPrimitives.WriteUInt32LittleEndian(to[4..], flags);
        BinaryPrimitives.WriteUInt64LittleEndian(to[8..], offset);
        BinaryPrimitives.WriteUInt64LittleEndian(to[16..], address);
        BinaryPrimitives.WriteUInt64LittleEndian(to[32..], fileSize);
        BinaryPrimitives.WriteUInt64LittleEndian(to[40..], memorySize);
        BinaryPrimitives.WriteUInt64LittleEndian(to[48..], align);
    }

    // PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4 (mmap(2)) to PF_R 4, PF_W 2, PF_X 1.
    private static uint Flags(uint protection) =>
        ((protection & 1) << 2) | (protection & 2) | ((protection & 4) >> 2);
}
