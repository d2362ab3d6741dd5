using System.Buffers;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>Finds the populated pages of a range, with what the kernel says of them.</summary>
public interface IPageScanner : IDisposable
{
    /// <summary>Appends the populated pages in address order; neighbours with equal flags are one run.</summary>
    /// <param name="range">Where to look: within one VMA.</param>
    /// <param name="fileMapping">Tell the file's own pages (FILE) from private copies.</param>
    /// <param name="runs">Appended to.</param>
    /// <exception cref="LinuxException">The process is gone.</exception>
    void Scan(PageRange range, bool fileMapping, RunList<PageRun> runs);
}

/// <summary>PAGEMAP_SCAN, kernel 6.7 and later: the cost grows with what is populated, not with the size of the range.</summary>
/// <param name="pid">Process.</param>
/// <param name="supported">Categories that the kernel knows.</param>
public sealed class PagemapScanScanner(int pid, PageCategories supported) : IPageScanner
{
    private const PageCategories Populated = PageCategories.Present | PageCategories.Swapped;
    private readonly Pagemap _pagemap = Pagemap.Open(pid);
    // From the pool: the estimate before the freeze has allocated and touched it already.
    private readonly PageRegion[] _regions = ArrayPool<PageRegion>.Shared.Rent(8192);
    private bool _disposed;

    /// <inheritdoc/>
    public void Scan(PageRange range, bool fileMapping, RunList<PageRun> runs)
    {
        var error = Walk(range, Everything(fileMapping), runs);
        if (error != 0) throw new LinuxException("ioctl(PAGEMAP_SCAN)", error, $"pid {pid} at {range}");
    }

    /// <summary>Appends the pages that are not in memory but not holes either: swapped out, guards, markers; and holes, without flags; and zero pages, which are in memory.</summary>
    public void ScanAway(PageRange range, RunList<PageRun> runs)
    {
        var error = Walk(range, new ScanRequest(PageCategories.Present | PageCategories.ZeroFrame, Everything(false).Return, Inverted: PageCategories.Present), runs);
        if (error != 0) throw new LinuxException("ioctl(PAGEMAP_SCAN)", error, $"pid {pid} at {range}");
    }

    /// <summary>
    /// Appends the pages that hold data, are registered for asynchronous write protection and were not written since they were protected.
    /// Protects nothing, and what is not mapped any more is left out.
    /// </summary>
    public void ScanUnwritten(PageRange range, RunList<PageRun> runs)
    {
        const PageCategories tracked = PageCategories.WriteProtectAllowed | PageCategories.Written;
        var error = Walk(range, new ScanRequest(Populated, PageCategories.Present, All: tracked, Inverted: PageCategories.Written), runs);
        if (error != 0) throw new LinuxException("ioctl(PAGEMAP_SCAN)", error, $"pid {pid} at {range}");
    }

    /// <summary>
    /// Appends the private pages that hold data and were changed by the word of a tracker, each with <see cref="PageCategories.WriteProtectAllowed"/> if its
    /// mapping is registered. Protects nothing. The range may span any mappings.
    /// </summary>
    /// <param name="range">Where to look.</param>
    /// <param name="changed">The category that says so.</param>
    /// <param name="runs">Appended to.</param>
    public void ScanChanged(PageRange range, PageCategories changed, RunList<PageRun> runs)
    {
        const PageCategories without = PageCategories.File | PageCategories.ZeroFrame;
        var error = Walk(range, new ScanRequest(Populated, PageCategories.WriteProtectAllowed, All: changed | without, Inverted: without), runs);
        if (error != 0) throw new LinuxException("ioctl(PAGEMAP_SCAN)", error, $"pid {pid} at {range}");
    }

    /// <summary>True if the VMA that holds the page is registered with an asynchronous write-protecting userfaultfd, whosever it is.</summary>
    public bool IsRegistered(VirtualPage page)
    {
        // Of the VMA, not of the page: reported for unpopulated pages too.
        var request = new ScanRequest(PageCategories.None, PageCategories.WriteProtectAllowed, All: PageCategories.WriteProtectAllowed);
        return _pagemap.TryScan(page.Address, page.Address + VirtualPage.Size, request, _regions.AsSpan(0, 1), out _) == 1;
    }

    /// <summary>
    /// Scans and write protects the populated pages in the same step. Unpopulated ones are not touched: protecting them would
    /// allocate page tables for a sparse reservation, and a page populated later reads as written anyway.
    /// </summary>
    /// <returns>False, with nothing protected and nothing appended, if the VMA is not registered for asynchronous write protection.</returns>
    public bool TryScanAndProtect(PageRange range, bool fileMapping, RunList<PageRun> runs) => TryTracked(range, Everything(fileMapping), protect: true, runs);

    /// <summary>The same for the pages that were written only: appends these, and protects them, or leaves them as they are: then they read as written the next time too.</summary>
    /// <returns>As <see cref="TryScanAndProtect"/>.</returns>
    public bool TryScanWritten(PageRange range, bool protect, RunList<PageRun> runs) =>
        TryTracked(range, Everything(false) with { All = PageCategories.Written }, protect, runs);

    /// <summary>
    /// The same where every page is known to be in memory: asked for nothing but this, the kernel (to 6.18) takes half the time; only where <see cref="KernelProbes.FastScanKnowsSwapped"/>. A hole there would be reported as
    /// written, and marked as protected if it is to be: what it holds must be read, as that of all that is reported here.
    /// </summary>
    /// <returns>As <see cref="TryScanAndProtect"/>.</returns>
    public bool TryScanWrittenOfPresent(PageRange range, bool protect, RunList<PageRun> runs) =>
        TryTracked(range, new ScanRequest(PageCategories.None, PageCategories.Written, All: PageCategories.Written), protect, runs, known: PageCategories.Present);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed) return; // returning an array twice would give it to two users
        _disposed = true;
        _pagemap.Dispose();
        ArrayPool<PageRegion>.Shared.Return(_regions);
    }

    private ScanRequest Everything(bool fileMapping) => new(Populated, Populated | PageCategories.Written | PageCategories.ZeroFrame
        | (supported & (PageCategories.SoftDirty | PageCategories.Guard)) | (fileMapping ? PageCategories.File : 0));

    private bool TryTracked(PageRange range, in ScanRequest request, bool protect, RunList<PageRun> runs, PageCategories known = PageCategories.None)
    {
        var before = runs.Count;
        var error = Walk(range, request with { WriteProtect = protect, CheckWriteProtect = true }, runs, known);
        if (error == 0) return true;
        if (error != Errno.EPERM) throw new LinuxException("ioctl(PAGEMAP_SCAN, PM_SCAN_CHECK_WPASYNC)", error, $"pid {pid} at {range}");
        runs.Truncate(before);
        return false;
    }

    private int Walk(PageRange range, in ScanRequest request, RunList<PageRun> runs, PageCategories known = PageCategories.None)
    {
        var at = range.Start.Address;
        var end = range.End.Address;
        while (at < end)
        {
            var n = _pagemap.TryScan(at, end, request, _regions, out _);
            if (n == -Errno.EINTR) continue;
            if (n < 0) return -n;
            for (var i = 0; i < n; i++)
                RunBuilder.Append(runs, PageRange.OfAddresses(_regions[i].Start, _regions[i].End), _regions[i].Categories | known);

            // Not by walk_end: the kernel (6.18) leaves it where its own buffer of 512 regions was full for the last time, even
            // if it then went on to the end. Whoever resumes there sees pages twice, the second time as clean: just protected.
            if (n < _regions.Length) break;
            var next = _regions[n - 1].End;
            if (next <= at) return Errno.EIO;
            at = next;
        }

        return 0;
    }
}

/// <summary>/proc/PID/pagemap, 8 bytes per page of the range: every kernel, and soft-dirty before PAGEMAP_SCAN knew it.</summary>
public sealed class ClassicScanner(int pid, ZeroFrames zeroFrames) : IPageScanner
{
    private readonly Pagemap _pagemap = Pagemap.Open(pid);
    private readonly ulong[] _entries = ArrayPool<ulong>.Shared.Rent(64 * 1024);
    private bool _disposed;

    /// <inheritdoc/>
    public void Scan(PageRange range, bool fileMapping, RunList<PageRun> runs)
    {
        for (var page = range.Start; page.Number < range.End.Number;)
        {
            var count = (int)Math.Min((ulong)_entries.Length, range.End.Number - page.Number);
            var entries = _entries.AsSpan(0, count);
            if (_pagemap.Read(page, entries) != count) throw new LinuxException("pread", Errno.ESRCH, $"/proc/{pid}/pagemap at {page}");
            for (var i = 0; i < count;)
            {
                if (entries[i] >> 62 == 0)
                {
                    i++;
                    continue;
                }

                var flags = Flags(entries[i]);
                var from = i++;
                while (i < count && entries[i] >> 62 != 0 && Flags(entries[i]) == flags) i++;
                RunBuilder.Append(runs, new PageRange(page + (ulong)from, (ulong)(i - from)), flags);
            }

            page += (ulong)count;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed) return; // returning an array twice would give it to two users
        _disposed = true;
        _pagemap.Dispose();
        ArrayPool<ulong>.Shared.Return(_entries);
    }

    // Written is always set: without write protection nothing may be taken for unwritten.
    private PageCategories Flags(ulong bits)
    {
        var entry = new PagemapEntry(bits);
        return PageCategories.Written | (entry.Present ? PageCategories.Present : PageCategories.Swapped)
            | (entry.FileOrShared ? PageCategories.File : 0) | (entry.SoftDirty ? PageCategories.SoftDirty : 0)
            | (entry.Guard ? PageCategories.Guard : 0) | (zeroFrames.Contains(entry.FrameNumber) ? PageCategories.ZeroFrame : 0);
    }
}

/// <summary>Frame numbers of the zero page and of the huge zero page; 0 where unknown.</summary>
/// <param name="Small">The zero page.</param>
/// <param name="Huge">First frame of the huge zero page, 512 frames long.</param>
public readonly record struct ZeroFrames(ulong Small, ulong Huge)
{
    /// <summary>True if the frame is known to be a zero page.</summary>
    public bool Contains(ulong frame) => frame != 0 && (frame == Small || (Huge != 0 && frame - Huge < 512));
}

/// <summary>Joins neighbouring runs.</summary>
internal static class RunBuilder
{
    public static void Append(RunList<PageRun> runs, PageRange range, PageCategories flags)
    {
        if (runs.Count > 0)
        {
            ref var last = ref runs[runs.Count - 1];
            if (last.Flags == flags && last.Range.End == range.Start)
            {
                last = new PageRun(new PageRange(last.Range.Start, last.Range.Count + range.Count), flags);
                return;
            }
        }

        runs.Add(new PageRun(range, flags));
    }
}
