using System.Buffers.Binary;
using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Capture.State;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Tests.Restore;

/// <summary>
/// A checkpoint of a live, SIGSTOPped process without the store: the state by freezing, the memory straight from
/// /proc/PID/mem, the mappings from /proc/PID/maps by a reading of its own.
/// </summary>
internal static class LiveCapture
{
    private const ulong PageSize = VirtualPage.Size;

    public static FakeImage Take(int pid)
    {
        var files = new FileRefs();
        using var reader = ProcessStateReader.Prepare(pid, files);
        using var ptrace = new PtraceThread();
        ptrace.Run(() =>
        {
            using var tree = FrozenTree.Freeze(pid, tree: false, new FreezeOptions { StopTimeout = TimeSpan.FromMinutes(5), MaxFrozen = TimeSpan.FromMinutes(10) });
            reader.ReadFrozen(tree.Processes[0]);
            reader.ReadInjected(null, "not asked for");
        });
        var process = reader.Build();
        foreach (var line in File.ReadLines($"/proc/{pid}/maps"))
            process.Vmas.Add(ParseVma(line, files));
        var image = new FakeImage(process);
        using var memory = ProcessMemory.Open(pid);
        using var pagemap = File.OpenHandle($"/proc/{pid}/pagemap");
        foreach (var vma in process.Vmas.Where(v => v.Content != VmaContent.NotCaptured))
            ReadPages(image, vma, memory, pagemap);
        return image;
    }

    private static Vma ParseVma(string line, FileRefs files)
    {
        // start-end rwxp offset major:minor inode   name
        var parts = line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries);
        var range = parts[0].Split('-');
        var name = parts.Length > 5 ? parts[5].TrimStart() : "";
        var vma = new Vma
        {
            Start = Hex(range[0]),
            End = Hex(range[1]),
            Protection = (parts[1][0] == 'r' ? 1u : 0) | (parts[1][1] == 'w' ? 2u : 0) | (parts[1][2] == 'x' ? 4u : 0),
            Shared = parts[1][3] == 's',
            OffsetBytes = Hex(parts[2]),
            Inode = ulong.Parse(parts[4], CultureInfo.InvariantCulture),
            Name = name,
            Content = VmaContent.Saved,
        };
        if (name is "[vvar]" or "[vvar_vclock]" or "[vsyscall]")
            vma.Content = VmaContent.NotCaptured;
        else if (vma.Inode != 0 && !vma.Shared && name.StartsWith('/') && File.Exists(name))
        {
            vma.Content = VmaContent.FileBacked;
            vma.Backing = files.Describe(name);
        }
        return vma;
    }

    private static void ReadPages(FakeImage image, Vma vma, ProcessMemory memory, Microsoft.Win32.SafeHandles.SafeFileHandle pagemap)
    {
        Span<byte> entry = stackalloc byte[8];
        var page = new byte[PageSize];
        for (var address = vma.Start; address < vma.End; address += PageSize)
        {
            if (RandomAccess.Read(pagemap, entry, (long)(address / PageSize * 8)) != 8)
                throw new EndOfStreamException("pagemap");
            var bits = BinaryPrimitives.ReadUInt64LittleEndian(entry);
            var populated = (bits >> 62) != 0;              // present or swapped, pagemap in proc(5)
            var fileOrShared = (bits & (1UL << 61)) != 0;
            // A page of the vDSO that nobody has touched yet is not populated, and yet not zero.
            if ((!populated && vma.Name != "[vdso]") || (vma.Content == VmaContent.FileBacked && fileOrShared))
                continue;
            if (memory.TryRead(address, page))
                image.SetPage(0, address, page);
        }
    }

    private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
}
