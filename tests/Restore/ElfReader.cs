using System.Buffers.Binary;
using System.Text;

namespace Crstore.Tests.Restore;

/// <summary>A second, independent reading of core files: what a debugger would see.</summary>
internal sealed class ElfReader
{
    private readonly byte[] bytes;

    public ElfReader(string path)
    {
        bytes = File.ReadAllBytes(path);
        if (!bytes.AsSpan(0, 4).SequenceEqual("\u007fELF"u8) || U16(16) != 4)
            throw new InvalidDataException("no ELF core");
        int count = U16(56);
        if (count == 0xffff)
            count = (int)U32((int)U64(40) + 44);
        for (var i = 0; i < count; i++)
        {
            var at = (int)U64(32) + (i * 56);
            var segment = new Segment(U32(at), U32(at + 4), U64(at + 8), U64(at + 16), U64(at + 32), U64(at + 40));
            if (segment.Type == 4)
                ReadNotes(segment);
            else
                Loads.Add(segment);
        }
    }

    public List<Segment> Loads { get; } = [];

    public List<Note> Notes { get; } = [];

    public Note Single(uint type) => Notes.Single(n => n.Type == type);

    /// <summary>Memory as the core has it; null where no segment has content in the file.</summary>
    public byte[]? Memory(ulong address, int length)
    {
        var load = Loads.FirstOrDefault(l => address >= l.Address && address + (ulong)length <= l.Address + l.FileSize);
        return load is null ? null : bytes.AsSpan((int)(load.Offset + (address - load.Address)), length).ToArray();
    }

    private void ReadNotes(Segment segment)
    {
        var at = (int)segment.Offset;
        var end = at + (int)segment.FileSize;
        while (at < end)
        {
            int nameSize = (int)U32(at), size = (int)U32(at + 4);
            var content = at + 12 + ((nameSize + 3) & ~3);
            Notes.Add(new Note(Encoding.ASCII.GetString(bytes, at + 12, nameSize - 1), U32(at + 8), bytes.AsSpan(content, size).ToArray()));
            at = content + ((size + 3) & ~3);
        }
        if (at != end)
            throw new InvalidDataException("notes end beyond their segment");
    }

    private ushort U16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at));

    private uint U32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at));

    private ulong U64(int at) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(at));

    internal sealed record Segment(uint Type, uint Flags, ulong Offset, ulong Address, ulong FileSize, ulong MemorySize);

    internal sealed record Note(string Name, uint Type, byte[] Content);
}
