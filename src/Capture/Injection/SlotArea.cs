using System.Buffers.Binary;
using Crstore.Linux;

namespace Crstore.Capture.Injection;

/// <summary>
/// Where the slots lie in a process: in the zero padding between the end of the vDSO's image and the end of its last page.
/// That is executable memory which every process has and nobody uses; writing it makes one private page. Three slots: a
/// thread that is parked in one, and another thread that goes from call to call through the other two, or two that stay in one each.
/// </summary>
internal sealed class SlotArea
{
    /// <summary>Slots.</summary>
    public const int Count = 3;

    /// <summary>Bytes of all slots.</summary>
    public const int Size = Count * SlotImage.Size;

    private const int PageSize = 4096, MaxVdsoSize = 16 * PageSize;
    private const ulong AtSysinfoEhdr = 33; // getauxval(3): address of the vDSO

    private SlotArea(ulong start) => Start = start;

    /// <summary>Address of the first slot.</summary>
    public ulong Start { get; }

    /// <summary>Address of a slot.</summary>
    public ulong this[int slot] => Start + (ulong)(slot * SlotImage.Size);

    /// <summary>True if an address lies in the slots, or directly behind them.</summary>
    public bool Contains(ulong address) => address - Start < Size;

    /// <summary>
    /// Cheap test before <see cref="Find"/>, of a stopped thread: is what lies there a slot that is in use? An area ends with its page. Where a vDSO lies tells nothing: since Linux 6.14
    /// it is mapped like any library, and with a personality of ADDR_COMPAT_LAYOUT low.
    /// </summary>
    public static bool MayContain(int tid, ulong address)
    {
        var fromEnd = PageSize - (int)(address & (PageSize - 1));
        return fromEnd <= Size && SlotImage.IsInUse(tid, address + (ulong)fromEnd - (ulong)((fromEnd + SlotImage.Size - 1) / SlotImage.Size * SlotImage.Size));
    }

    /// <summary>Finds the area, or says why there is none.</summary>
    public static SlotArea? Find(ProcessMemory memory, out string? whyNot)
    {
        var vdso = Address(memory.Pid);
        Span<byte> head = stackalloc byte[64];
        if (vdso == 0 || !memory.TryRead(vdso, head) || !head.StartsWith((ReadOnlySpan<byte>)[0x7f, (byte)'E', (byte)'L', (byte)'F', 2]))
        {
            whyNot = "the process has no vDSO, where the injected code would go";
            return null;
        }
        var end = ImageEnd(memory, vdso, head);
        var pageEnd = (end + PageSize - 1) / PageSize * PageSize;
        if (end <= 0 || end > MaxVdsoSize || pageEnd - end < Size + 16)
        {
            whyNot = $"the vDSO has no {Size} bytes free at its end for the injected code";
            return null;
        }
        var image = new byte[end];
        if (!memory.TryRead(vdso, image) || image.AsSpan().IndexOf("linux-vdso.so"u8) < 0)
        {
            whyNot = "what lies at the vDSO's address is not the vDSO";
            return null;
        }
        whyNot = null;
        return new SlotArea(vdso + (ulong)(pageEnd - Size));
    }

    private static ulong Address(int pid)
    {
        var auxv = TaskFile.ReadBytes($"/proc/{pid}/auxv").AsSpan();
        for (; auxv.Length >= 16; auxv = auxv[16..])
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(auxv) == AtSysinfoEhdr) return BinaryPrimitives.ReadUInt64LittleEndian(auxv[8..]);
        }
        return 0;
    }

    /// <summary>End of segments and section headers, elf(5); -1 if the headers can't be read.</summary>
    private static long ImageEnd(ProcessMemory memory, ulong vdso, ReadOnlySpan<byte> head)
    {
        var programHeaders = (long)BinaryPrimitives.ReadUInt64LittleEndian(head[32..]);
        var sectionHeaders = (long)BinaryPrimitives.ReadUInt64LittleEndian(head[40..]);
        int programCount = BinaryPrimitives.ReadUInt16LittleEndian(head[56..]), sectionCount = BinaryPrimitives.ReadUInt16LittleEndian(head[60..]);
        if (programCount is 0 or > 32 || programHeaders is <= 0 or > PageSize || sectionHeaders is < 0 or > MaxVdsoSize) return -1;
        var headers = new byte[programCount * 56];
        if (!memory.TryRead(vdso + (ulong)programHeaders, headers)) return -1;
        var end = sectionHeaders + sectionCount * 64;
        for (var at = 0; at < headers.Length; at += 56)
        {
            var offset = (long)BinaryPrimitives.ReadUInt64LittleEndian(headers.AsSpan(at + 8));
            var size = (long)BinaryPrimitives.ReadUInt64LittleEndian(headers.AsSpan(at + 32));
            if (offset is >= 0 and < MaxVdsoSize && size is >= 0 and < MaxVdsoSize) end = Math.Max(end, offset + size);
        }
        return end;
    }
}
