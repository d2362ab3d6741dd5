using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// What this kernel's memory tracking can do for us, found out by trying it on our own memory, once. A kernel that accepts a
/// call without acting on it (clear_refs without CONFIG_MEM_SOFT_DIRTY) is found out as well.
/// </summary>
public sealed class KernelProbes
{
    private const ulong HugeSize = 2 * 1024 * 1024; // of a page table's reach, x86-64
    private static readonly Lazy<KernelProbes> Cached = new(static () => new KernelProbes());

    // Keeps the huge zero page alive, and so in its place: it is freed when nobody has it.
    private readonly MappedMemory _hugeZero;

    private KernelProbes()
    {
        PagemapScanCategories = ProbePagemapScan(out var scanReason);
        PagemapScanReason = scanReason;
        FastScanKnowsSwapped = KnowsSwapped(SystemInfo.KernelRelease());
        SoftDirty = ProbeSoftDirty(out var softDirtyReason);
        SoftDirtyReason = softDirtyReason;
        SoftDirtySurvivesMove = SoftDirty && ProbeMove();
        UffdWriteProtect = ProbeUffd(out var uffdReason);
        UffdReason = uffdReason;
        FastScanTellsDropped = UffdWriteProtect && FastScanKnowsSwapped && ProbeDropped();
        ZeroFrames = ProbeZeroFrames(out _hugeZero);
        PagemapScanTellsHugeZero = PagemapScan && ProbeHugeZeroScan(_hugeZero);
    }

    /// <summary>The findings of this machine.</summary>
    public static KernelProbes Current => Cached.Value;

    /// <summary>PAGEMAP_SCAN works (kernel 6.7).</summary>
    public bool PagemapScan => PagemapScanCategories != PageCategories.None;

    /// <summary>Categories that PAGEMAP_SCAN knows here; none if there is no PAGEMAP_SCAN.</summary>
    public PageCategories PagemapScanCategories { get; }

    /// <summary>Why not; empty if it works.</summary>
    public string PagemapScanReason { get; }

    /// <summary>
    /// PAGEMAP_SCAN, asked for nothing but what was written, may be believed of a page that is being swapped out or moved (compaction). Before Linux 6.9 it took a bit of
    /// such an entry's offset for its write protection (pagemap_scan_pmd_entry, fs/proc/task_mmu.c): what was written could read as clean. By the release, for such
    /// an entry can't be made at will.
    /// </summary>
    public bool FastScanKnowsSwapped { get; }

    /// <summary>The same of a page that was protected and has been dropped since, madvise(MADV_DONTNEED), as long as there is another one in its page table: it reads as written.</summary>
    public bool FastScanTellsDropped { get; }

    /// <summary>Soft-dirty bits are cleared by clear_refs and set by a write.</summary>
    public bool SoftDirty { get; }

    /// <summary>Why not; empty if it works.</summary>
    public string SoftDirtyReason { get; }

    /// <summary>Memory that mremap moved reads as written. Kernels up to 6.18 move a page table as a whole and leave the bits in it clear.</summary>
    public bool SoftDirtySurvivesMove { get; }

    /// <summary>Asynchronous userfaultfd write protection works (kernel 6.7).</summary>
    public bool UffdWriteProtect { get; }

    /// <summary>Why not; empty if it works.</summary>
    public string UffdReason { get; }

    /// <summary>Frame numbers of the zero pages; all 0 without CAP_SYS_ADMIN.</summary>
    public ZeroFrames ZeroFrames { get; }

    /// <summary>PAGEMAP_SCAN calls the huge zero page a zero page; up to a fix of September 2025 only the small one. True if there is none to try.</summary>
    public bool PagemapScanTellsHugeZero { get; }

    /// <summary>The zero page can be told from other clean pages, which soft-dirty needs: a read after MADV_DONTNEED maps it without setting the bit.</summary>
    public bool ZeroPageTellable => PagemapScan && PagemapScanTellsHugeZero
        || ZeroFrames.Small != 0 && (!PagemapScan || ZeroFrames.Huge != 0); // PAGEMAP_SCAN has shown that there is a huge one

    /// <summary><see cref="FastScanKnowsSwapped"/> of a kernel.</summary>
    /// <param name="release">uname -r. What doesn't begin with two numbers counts as old.</param>
    public static bool KnowsSwapped(string release)
    {
        var numbers = release.Split('.', '-');
        return numbers.Length > 1 && int.TryParse(numbers[0], NumberStyles.None, CultureInfo.InvariantCulture, out var major)
            && int.TryParse(numbers[1], NumberStyles.None, CultureInfo.InvariantCulture, out var minor) && (major, minor).CompareTo((6, 9)) >= 0;
    }

    /// <summary>The best scanner here for a process. It is bound to the address space of now: open it in the freeze.</summary>
    /// <param name="pid">Process.</param>
    /// <param name="needSoftDirty">The soft-dirty bit must be told.</param>
    public IPageScanner OpenScanner(int pid, bool needSoftDirty) =>
        PagemapScan && (!needSoftDirty || (PagemapScanTellsHugeZero && (PagemapScanCategories & PageCategories.SoftDirty) != 0))
            ? new PagemapScanScanner(pid, PagemapScanCategories)
            : new ClassicScanner(pid, ZeroFrames);

    private static PageCategories ProbePagemapScan(out string reason)
    {
        const PageCategories basic = (PageCategories)0x7f;
        using var page = NewPage();
        page.GetSpan()[0] = 1;
        using var pagemap = Pagemap.Open(Environment.ProcessId);
        var all = PageCategories.None;
        foreach (var more in (ReadOnlySpan<PageCategories>)[PageCategories.None, PageCategories.SoftDirty, PageCategories.Guard])
        {
            var error = Scan(pagemap, page, new ScanRequest(PageCategories.Present, basic | all | more), out var found);
            if (error == 0 && (found & PageCategories.Present) != 0) all |= basic | more;
            else if (more == PageCategories.None)
            {
                reason = error == 0 ? "PAGEMAP_SCAN does not see a page that was just written"
                    : $"PAGEMAP_SCAN: {Errno.Describe(error)} (it came with kernel 6.7)";
                return PageCategories.None;
            }
        }

        reason = "";
        return all;
    }

    private static bool ProbeSoftDirty(out string reason)
    {
        using var pages = new MappedMemory(2 * VirtualPage.Size, huge: false);
        pages.GetSpan()[0] = 1;
        pages.GetSpan()[VirtualPage.Size] = 1;
        try
        {
            ClearRefs.SoftDirty(Environment.ProcessId);
        }
        catch (LinuxException e)
        {
            reason = e.Message;
            return false;
        }

        pages.GetSpan()[0] = 2;
        using var pagemap = Pagemap.Open(Environment.ProcessId);
        Span<ulong> entries = stackalloc ulong[2];
        pagemap.Read(VirtualPage.Of(pages.Address), entries);
        var works = new PagemapEntry(entries[0]).SoftDirty && !new PagemapEntry(entries[1]).SoftDirty;
        reason = works ? "" : "this kernel has no working soft-dirty bit: it was not set by a write after clear_refs (CONFIG_MEM_SOFT_DIRTY is off)";
        return works;
    }

    private static bool ProbeMove()
    {
        const int blockBytes = 2 * 1024 * 1024;
        using var pages = new MappedMemory(4 * blockBytes, huge: false);
        var first = (int)((blockBytes - pages.Address % blockBytes) % blockBytes);
        pages.GetSpan()[first] = 1;
        ClearRefs.SoftDirty(Environment.ProcessId);
        // Two page tables further on: aligned alike, not overlapping.
        if (!pages.TryMoveWithin(first, first + blockBytes, blockBytes)) return false;
        using var pagemap = Pagemap.Open(Environment.ProcessId);
        Span<ulong> entry = stackalloc ulong[1];
        pagemap.Read(VirtualPage.Of(pages.Address + (ulong)first + blockBytes), entry);
        return new PagemapEntry(entry[0]).SoftDirty;
    }

    private bool ProbeUffd(out string reason)
    {
        if (!PagemapScan)
        {
            reason = PagemapScanReason;
            return false;
        }

        using var uffd = Userfaultfd.TryCreate(out var error);
        if (uffd is null)
        {
            reason = $"userfaultfd: {Errno.Describe(error)}";
            return false;
        }

        error = uffd.EnableAsyncWriteProtect();
        if (error != 0)
        {
            reason = $"userfaultfd has no asynchronous write protection: {Errno.Describe(error)} (it came with kernel 6.7)";
            return false;
        }

        using var page = NewPage();
        page.GetSpan()[0] = 1;
        error = uffd.Register(page.Address, VirtualPage.Size);
        using var pagemap = Pagemap.Open(Environment.ProcessId);
        var request = new ScanRequest(PageCategories.Present, PageCategories.Written | PageCategories.Present, WriteProtect: true, CheckWriteProtect: true);
        var clean = PageCategories.Written;
        if (error == 0) error = Scan(pagemap, page, request, out _);
        if (error == 0) error = Scan(pagemap, page, request, out clean);
        page.GetSpan()[0] = 2;
        var dirty = PageCategories.None;
        if (error == 0) error = Scan(pagemap, page, request, out dirty);
        var works = error == 0 && (clean & PageCategories.Written) == 0 && (dirty & PageCategories.Written) != 0;
        reason = works ? "" : error != 0 ? $"write protection failed its trial: {Errno.Describe(error)}" : "write protection did not report a write in its trial";
        return works;
    }

    private static bool ProbeDropped()
    {
        using var uffd = Userfaultfd.TryCreate(out _);
        if (uffd is null || uffd.EnableAsyncWriteProtect() != 0) return false;
        using var pages = new MappedMemory(3 * VirtualPage.Size, huge: false);
        for (var i = 0; i < 3; i++) pages.GetSpan()[i * VirtualPage.Size] = 1;
        if (uffd.Register(pages.Address, 3 * VirtualPage.Size) != 0) return false;
        using var pagemap = Pagemap.Open(Environment.ProcessId);
        var protect = new ScanRequest(PageCategories.Present, PageCategories.Written | PageCategories.Present, WriteProtect: true, CheckWriteProtect: true);
        Span<PageRegion> regions = stackalloc PageRegion[4];
        if (pagemap.TryScan(pages.Address, pages.Address + 3 * VirtualPage.Size, protect, regions, out _) < 0) return false;
        pages.Release(VirtualPage.Size, VirtualPage.Size);
        var fast = new ScanRequest(PageCategories.None, PageCategories.Written, All: PageCategories.Written);
        return pagemap.TryScan(pages.Address, pages.Address + 3 * VirtualPage.Size, fast, regions, out _) == 1
            && regions[0].Start == pages.Address + VirtualPage.Size && regions[0].End == pages.Address + 2 * VirtualPage.Size;
    }

    private static ZeroFrames ProbeZeroFrames(out MappedMemory hugeZero)
    {
        hugeZero = new MappedMemory(2 * (int)HugeSize, huge: true);
        using var small = NewPage();
        using var pagemap = Pagemap.Open(Environment.ProcessId);
        Span<ulong> entries = stackalloc ulong[2];
        // A read fault of memory never written maps the zero page; two of them share the frame.
        using var other = NewPage();
        var sum = small.GetSpan()[0] + other.GetSpan()[0];
        pagemap.Read(VirtualPage.Of(small.Address), entries[..1]);
        pagemap.Read(VirtualPage.Of(other.Address), entries.Slice(1, 1));
        var zero = new PagemapEntry(entries[0]).FrameNumber;
        if (zero != new PagemapEntry(entries[1]).FrameNumber) zero = 0;

        var aligned = (int)((HugeSize - hugeZero.Address % HugeSize) % HugeSize);
        sum += hugeZero.GetSpan()[aligned] + hugeZero.GetSpan()[aligned + VirtualPage.Size];
        pagemap.Read(VirtualPage.Of(hugeZero.Address + (ulong)aligned), entries);
        var first = new PagemapEntry(entries[0]).FrameNumber;
        var huge = sum == 0 && first != 0 && first % 512 == 0 && new PagemapEntry(entries[1]).FrameNumber == first + 1 ? first : 0;
        return new ZeroFrames(zero, huge);
    }

    // The block that ProbeZeroFrames has read and never written: mapped by a huge entry, it is the huge zero page, unless that was
    // switched off by hand.
    private static bool ProbeHugeZeroScan(MappedMemory hugeZero)
    {
        const string setting = "/sys/kernel/mm/transparent_hugepage/use_zero_page";
        if (File.Exists(setting) && File.ReadAllText(setting).Trim() == "0") return true;
        using var pagemap = Pagemap.Open(Environment.ProcessId);
        var start = hugeZero.Address + (HugeSize - hugeZero.Address % HugeSize) % HugeSize;
        Span<PageRegion> regions = stackalloc PageRegion[4];
        var request = new ScanRequest(PageCategories.Present, PageCategories.Present | PageCategories.Huge | PageCategories.ZeroFrame);
        var n = pagemap.TryScan(start, start + HugeSize, request, regions, out _);
        foreach (ref readonly var region in regions[..Math.Max(n, 0)])
            if ((region.Categories & PageCategories.Huge) != 0 && (region.Categories & PageCategories.ZeroFrame) == 0)
                return false;
        return true;
    }

    private static MappedMemory NewPage() => new(VirtualPage.Size, huge: false);

    private static int Scan(Pagemap pagemap, MappedMemory page, in ScanRequest request, out PageCategories found)
    {
        Span<PageRegion> regions = stackalloc PageRegion[4];
        var n = pagemap.TryScan(page.Address, page.Address + VirtualPage.Size, request, regions, out _);
        found = n > 0 ? regions[0].Categories : PageCategories.None;
        return n < 0 ? -n : 0;
    }
}
