using System.Buffers;
using System.Runtime.InteropServices;

namespace Crstore.Linux.Memory;

/// <summary>
/// Private anonymous memory of our own from mmap(2), outside the garbage collector's sight. Page aligned; at most 1 GiB, since
/// <see cref="Memory{T}"/> counts in int.
/// </summary>
public sealed partial class MappedMemory : MemoryManager<byte>
{
    /// <summary>The largest one.</summary>
    public const int MaxBytes = 1 << 30;

    private const int Anonymous = 0x20, Private = 2, NoReserve = 0x4000; // MAP_, mmap(2)
    private const int AdviseHugePage = 14;     // MADV_HUGEPAGE, madvise(2)
    private const int AdviseNoHugePage = 15;   // MADV_NOHUGEPAGE
    private const int AdvisePopulateWrite = 23; // MADV_POPULATE_WRITE, kernel 5.14
    private const int AdviseDontNeed = 4;      // MADV_DONTNEED

    private nint _address;

    /// <summary>Maps that many bytes (a multiple of 4096), not populated.</summary>
    /// <param name="sizeBytes">Size.</param>
    /// <param name="huge">Ask for huge pages: fewer faults; false asks for none.</param>
    /// <exception cref="LinuxException">No memory.</exception>
    public MappedMemory(int sizeBytes, bool huge)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(sizeBytes, MaxBytes);
        var p = Mmap(0, sizeBytes, 3 /* PROT_READ | PROT_WRITE */, Private | Anonymous | NoReserve, -1, 0);
        if (p == -1) throw LinuxException.Last("mmap", $"{sizeBytes} bytes");
        _address = p;
        SizeBytes = sizeBytes;
        // Refused where the kernel has no transparent huge pages: then there are none, which is all that is asked for.
        _ = Madvise(p, sizeBytes, huge ? AdviseHugePage : AdviseNoHugePage);
    }

    /// <summary>Size.</summary>
    public int SizeBytes { get; }

    /// <summary>Address, for syscalls that take one (probes).</summary>
    public ulong Address => (ulong)_address;

    /// <inheritdoc/>
    public override Memory<byte> Memory => CreateMemory(SizeBytes);

    /// <inheritdoc/>
    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(_address == 0, this);
        unsafe
        {
            return new Span<byte>((void*)_address, SizeBytes);
        }
    }

    /// <summary>Faults pages in now, so that writing to them later costs nothing. What can't be populated stays as it is.</summary>
    /// <returns>False if it could not be done (old kernel, no memory): faults come later instead.</returns>
    public bool Populate(int offset, int sizeBytes) => Madvise(_address + offset, sizeBytes, AdvisePopulateWrite) == 0;

    /// <summary>True if every page of a part is in memory, mincore(2); false also if the kernel can't tell (EAGAIN: no memory for it).</summary>
    public unsafe bool IsResident(int offset, int sizeBytes)
    {
        var pages = new byte[sizeBytes / Environment.SystemPageSize];
        fixed (byte* vector = pages)
            if (Mincore(_address + offset, sizeBytes, vector) != 0) return false;
        return Array.TrueForAll(pages, p => (p & 1) != 0);
    }

    /// <summary>Asks for huge pages in a part, or for none. A kernel without them refuses: then there are none.</summary>
    public void PreferHuge(int offset, int sizeBytes, bool huge) => _ = Madvise(_address + offset, sizeBytes, huge ? AdviseHugePage : AdviseNoHugePage);

    /// <summary>
    /// mremap(2) of a part over another part of the same size; the place it leaves is mapped afresh. For probes.
    /// </summary>
    public bool TryMoveWithin(int from, int to, int sizeBytes)
    {
        const int mayMove = 1, fixedPlace = 2, mapFixed = 0x10; // MREMAP_MAYMOVE, MREMAP_FIXED, MAP_FIXED
        if (Mremap(_address + from, sizeBytes, sizeBytes, mayMove | fixedPlace, _address + to) == -1) return false;
        return Mmap(_address + from, sizeBytes, 3, Private | Anonymous | NoReserve | mapFixed, -1, 0) != -1;
    }

    /// <summary>Gives the pages back; they read as zero again.</summary>
    public void Release(int offset, int sizeBytes) => LinuxException.Check(Madvise(_address + offset, sizeBytes, AdviseDontNeed), "madvise");

    /// <inheritdoc/>
    public override MemoryHandle Pin(int elementIndex = 0)
    {
        unsafe
        {
            return new MemoryHandle((byte*)_address + elementIndex);
        }
    }

    /// <inheritdoc/>
    public override void Unpin()
    {
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (_address != 0) _ = Munmap(_address, SizeBytes);
        _address = 0;
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Mmap(nint address, nint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "mremap", SetLastError = true)]
    private static partial nint Mremap(nint old, nint oldLength, nint newLength, int flags, nint to);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Munmap(nint address, nint length);

    [LibraryImport("libc", EntryPoint = "mincore", SetLastError = true)]
    private static unsafe partial int Mincore(nint address, nint length, byte* vector);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int Madvise(nint address, nint length, int advice);
}
