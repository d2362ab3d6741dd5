using System.Runtime.InteropServices;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Memory;

/// <summary>PAGE_IS_ categories of PAGEMAP_SCAN, linux/fs.h (kernel 6.7; GUARD 6.15), Documentation/admin-guide/mm/pagemap.rst.</summary>
[Flags]
public enum PageCategories : ulong
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The VMA is registered with an asynchronous write-protecting userfaultfd.</summary>
    WriteProtectAllowed = 1 << 0,

    /// <summary>Written to since it was write protected. Always set where nothing is protected.</summary>
    Written = 1 << 1,

    /// <summary>File or shared memory page.</summary>
    File = 1 << 2,

    /// <summary>In memory.</summary>
    Present = 1 << 3,

    /// <summary>Swapped out; also every other non-present entry: markers, migration.</summary>
    Swapped = 1 << 4,

    /// <summary>The zero page or the huge zero page.</summary>
    ZeroFrame = 1 << 5,

    /// <summary>Mapped by a huge entry.</summary>
    Huge = 1 << 6,

    /// <summary>Soft-dirty (kernel 6.8).</summary>
    SoftDirty = 1 << 7,

    /// <summary>MADV_GUARD_INSTALL page (kernel 6.15).</summary>
    Guard = 1 << 8,
}

/// <summary>struct page_region, linux/fs.h.</summary>
[StructLayout(LayoutKind.Sequential)]
public readonly struct PageRegion
{
    /// <summary>First address.</summary>
    public readonly ulong Start;

    /// <summary>First address behind it.</summary>
    public readonly ulong End;

    /// <summary>What the pages have in common, of the categories asked for.</summary>
    public readonly PageCategories Categories;
}

/// <summary>What to scan for: struct pm_scan_arg without its mechanics.</summary>
/// <param name="AnyOf">Pages with at least one of these; 0 for no such filter.</param>
/// <param name="Return">Categories to report.</param>
/// <param name="WriteProtect">PM_SCAN_WP_MATCHING: protect what was reported, atomically with the report.</param>
/// <param name="CheckWriteProtect">PM_SCAN_CHECK_WPASYNC: fail with EPERM at a VMA that cannot be protected.</param>
/// <param name="All">Pages with all of these.</param>
/// <param name="Inverted">Categories whose sense is inverted in the filters.</param>
public readonly record struct ScanRequest(
    PageCategories AnyOf, PageCategories Return, bool WriteProtect = false, bool CheckWriteProtect = false,
    PageCategories All = PageCategories.None, PageCategories Inverted = PageCategories.None);

/// <summary>One 8-byte entry of /proc/PID/pagemap, Documentation/admin-guide/mm/pagemap.rst.</summary>
public readonly record struct PagemapEntry(ulong Bits)
{
    /// <summary>Bit 63.</summary>
    public bool Present => (Bits >> 63 & 1) != 0;

    /// <summary>Bit 62; markers and migration entries count as well.</summary>
    public bool Swapped => (Bits >> 62 & 1) != 0;

    /// <summary>Bit 61: file page or shared anonymous.</summary>
    public bool FileOrShared => (Bits >> 61 & 1) != 0;

    /// <summary>Bit 58: guard (kernel 6.15).</summary>
    public bool Guard => (Bits >> 58 & 1) != 0;

    /// <summary>Bit 55.</summary>
    public bool SoftDirty => (Bits >> 55 & 1) != 0;

    /// <summary>Bits 0-54 of a present page; 0 without CAP_SYS_ADMIN.</summary>
    public ulong FrameNumber => Present ? Bits & ((1UL << 55) - 1) : 0;
}

/// <summary>/proc/PID/pagemap of one process. It stays bound to the address space that was there at the opening: open it after the freeze.</summary>
public sealed partial class Pagemap : IDisposable
{
    // _IOWR('f', 16, struct pm_scan_arg), linux/fs.h; the struct has 12 words.
    private const ulong PagemapScanRequest = 0xC0606610;
    private const ulong WpMatching = 1;   // PM_SCAN_WP_MATCHING
    private const ulong CheckWpAsync = 2; // PM_SCAN_CHECK_WPASYNC

    private readonly SafeFileHandle _file;
    private readonly string _path;

    private Pagemap(SafeFileHandle file, string path)
    {
        _file = file;
        _path = path;
    }

    /// <summary>Opens the page map of a process.</summary>
    /// <exception cref="LinuxException">Gone, or refused.</exception>
    public static Pagemap Open(int pid)
    {
        var path = $"/proc/{pid}/pagemap";
        return new Pagemap(RawFile.Open(path), path);
    }

    /// <summary>
    /// PAGEMAP_SCAN from <paramref name="start"/> up to <paramref name="end"/> (addresses). Returns the number of regions, or
    /// -errno. If the space for regions was full, go on behind the last one: <paramref name="walkEnd"/> is the kernel's word, and may be
    /// an address that it passed long before (6.18).
    /// </summary>
    public int TryScan(ulong start, ulong end, in ScanRequest request, Span<PageRegion> regions, out ulong walkEnd)
    {
        unsafe
        {
            fixed (PageRegion* vector = regions)
            {
                var arg = new PmScanArg
                {
                    Size = (ulong)sizeof(PmScanArg),
                    Flags = (request.WriteProtect ? WpMatching : 0) | (request.CheckWriteProtect ? CheckWpAsync : 0),
                    Start = start,
                    End = end,
                    Vector = (ulong)vector,
                    VectorLength = (ulong)regions.Length,
                    CategoryInverted = (ulong)request.Inverted,
                    CategoryMask = (ulong)request.All,
                    CategoryAnyOf = (ulong)request.AnyOf,
                    ReturnMask = (ulong)request.Return,
                };
                var result = Ioctl(_file, PagemapScanRequest, ref arg);
                walkEnd = arg.WalkEnd;
                return result < 0 ? -Marshal.GetLastPInvokeError() : result;
            }
        }
    }

    /// <summary>Reads the entries of consecutive pages. Those behind the end of the user address space are missing.</summary>
    /// <returns>Entries read.</returns>
    /// <exception cref="LinuxException">Refused.</exception>
    public int Read(VirtualPage first, Span<ulong> entries)
    {
        var bytes = MemoryMarshal.AsBytes(entries);
        var done = 0;
        while (done < bytes.Length)
        {
            var n = RawFile.TryReadAt(_file, bytes[done..], first.Number * 8 + (ulong)done);
            if (n < 0) throw new LinuxException("pread", -n, _path);
            if (n == 0) break;
            done += n;
        }

        return done / 8;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    [StructLayout(LayoutKind.Sequential)]
    private struct PmScanArg
    {
        public ulong Size, Flags, Start, End, WalkEnd, Vector, VectorLength, MaxPages, CategoryInverted, CategoryMask, CategoryAnyOf, ReturnMask;
    }

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Ioctl(SafeFileHandle fd, ulong request, ref PmScanArg arg);
}

/// <summary>/proc/PID/clear_refs, proc(5).</summary>
public static class ClearRefs
{
    /// <summary>Clears the soft-dirty bits of the whole process ("4"). Succeeds without effect on a kernel without CONFIG_MEM_SOFT_DIRTY.</summary>
    /// <exception cref="LinuxException">Gone, or refused.</exception>
    public static void SoftDirty(int pid)
    {
        var path = $"/proc/{pid}/clear_refs";
        using var file = RawFile.Open(path, RawOpen.WriteOnly);
        RawFile.Write(file, "4"u8, path);
    }
}
