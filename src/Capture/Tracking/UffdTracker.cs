using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>
/// Asynchronous write protection by a userfaultfd that is parked in the target on a high CLOEXEC fd. VMAs are registered from
/// here; protection is put on populated pages only, in the very scan that reports them (PAGEMAP_SCAN). If the target closes
/// the fd, the kernel drops everything and all pages read as written: it fails safe.
/// </summary>
/// <param name="parking">Knows and keeps the parked fd.</param>
/// <param name="away">Finds what is not in memory.</param>
/// <param name="hot">Says what need not be protected, and is told what was written everywhere.</param>
public sealed class UffdTracker(UffdParking parking, AwayWalk away, HotMemory hot) : ITracker
{
    // Pages scanned at a time: some 60 us, while others copy what was found before. Whole page tables, so that no huge page is split.
    private const ulong PagesAtATime = 16384;
    private readonly RunList<PageRun> _runs = new(8192);
    private readonly RunList<PageRun> _armed = new(4096);
    private readonly RunList<PageRun> _written = new(4096);
    private PagemapScanScanner? _scanner;
    private Userfaultfd? _uffd;
    private bool _adopted;

    /// <inheritdoc/>
    public TrackerKind Kind => TrackerKind.Uffd;

    /// <inheritdoc/>
    public PageCategories Dirty => PageCategories.Written;

    /// <inheritdoc/>
    public int ParkedFd { get; private set; }

    /// <summary>Why nothing could be armed; empty if it could.</summary>
    public string Failure { get; private set; } = "";

    /// <inheritdoc/>
    public void Begin(int pid, int tid, IRemoteSyscalls? remote)
    {
        _scanner = new PagemapScanScanner(pid, KernelProbes.Current.PagemapScanCategories);
        Failure = "";
        _adopted = parking.TryAdopt(pid, out _uffd);
        if (!_adopted) _uffd = parking.TryPark(pid, tid, remote, out var reason) is { } fresh ? fresh : Fail(reason);
        ParkedFd = _uffd is null ? 0 : parking.Fd;
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Registering again what is ours changes nothing, and is refused (EBUSY) if it is another one's, as that of a process which shares this memory (vfork): its
    /// dirty state must not be reset. Done here and not in <see cref="Scan"/>, as it waits for all others that hold the mappings' lock, and the crew that copies hardly lets go of it.
    /// </remarks>
    public void Prepare(IReadOnlyList<PlannedVma> vmas)
    {
        for (var i = 0; i < vmas.Count; i++)
        {
            var vma = vmas[i];
            vma.Watched = vma.Trackable && _uffd is not null && _scanner!.IsRegistered(vma.Range.Start) && Register(vma);
        }
    }

    /// <inheritdoc/>
    public void Scan(PlannedVma vma, IScanSink sink)
    {
        _runs.Clear();
        if (TryScanTracked(vma, sink)) return;
        var isFile = vma.File is not null;
        _scanner!.Scan(vma.Range, isFile, _runs);
        // Not registered: new, moved or never tracked. Its pages all count as written now, and are tracked from here on.
        if (vma.Trackable && _uffd is not null && HasOwnPages(_runs, isFile) && !_scanner.IsRegistered(vma.Range.Start)
            && Register(vma) && (!HasStaleMarks(_runs) || TryUnprotect(vma)))
        {
            _armed.Clear();
            vma.Tracked = _scanner.TryScanAndProtect(vma.Range, isFile, _armed);
        }

        sink.Take(_runs, covered: false);
    }

    /// <inheritdoc/>
    public void Finish()
    {
    }

    /// <inheritdoc/>
    public void End()
    {
        _scanner?.Dispose();
        _scanner = null;
        _uffd?.Dispose();
        _uffd = null;
    }

    /// <inheritdoc/>
    public void Dispose() => End();

    // One step per piece: what is reported as written is protected again, or stays unprotected; what is written later is reported next time.
    // False, with nothing said, if the mapping is not registered on our own userfaultfd.
    private bool TryScanTracked(PlannedVma vma, IScanSink sink)
    {
        if (!vma.Watched) return false;
        if (!AwayWalk.Covers(vma))
        {
            if (!_scanner!.TryScanAndProtect(vma.Range, vma.File is not null, _runs)) return false;
            vma.Tracked = true;
            sink.Take(_runs, _adopted);
            return true;
        }

        var size = PagesAtATime;
        for (var at = vma.Range.Start; at.Number < vma.Range.End.Number;)
        {
            var end = Math.Min(vma.Range.End.Number, (at.Number / PagesAtATime) * PagesAtATime + size);
            var piece = PageRange.Between(at, away.Next(at, new VirtualPage(end), out var solid));
            _written.Clear();
            if (!TryScanWritten(piece, solid))
            {
                if (at == vma.Range.Start) return false;
                throw new LinuxException("ioctl(PAGEMAP_SCAN, PM_SCAN_CHECK_WPASYNC)", Errno.EPERM, $"at {piece}, which lies within a registered mapping");
            }

            hot.Note(_written);
            _runs.Clear();
            away.Merge(piece, _written, _runs);
            vma.Tracked = true;
            sink.Take(_runs, _adopted);
            size = _runs.Count == 0 ? Math.Min(size * 2, 1UL << 40) : PagesAtATime; // reservations of terabytes are mostly empty
            at = piece.End;
        }

        return true;
    }

    // What is left unprotected reads as written now and the next time.
    private bool TryScanWritten(PageRange piece, bool solid)
    {
        var fast = solid || (KernelProbes.Current.FastScanKnowsSwapped && away.IsOwnMemory(piece));
        for (var at = piece.Start; at.Number < piece.End.Number;)
        {
            var part = PageRange.Between(at, hot.Next(at, piece.End, out var protect));
            if (!(fast ? _scanner!.TryScanWrittenOfPresent(part, protect, _written) : _scanner!.TryScanWritten(part, protect, _written))) return false;
            at = part.End;
        }

        return true;
    }

    private bool Register(PlannedVma vma) => _uffd!.Register(vma.Entry.Start, vma.Entry.End - vma.Entry.Start) == 0;

    // A mapping that is moved beside another and merges with it takes its registration away, but leaves the marks in its page
    // table (6.18). A page that is written then keeps its mark and is writable: registered again it would never be protected,
    // for it reads as protected already, and its next change would go unseen.
    private static bool HasStaleMarks(RunList<PageRun> runs)
    {
        foreach (var run in runs)
            if ((run.Flags & PageCategories.Written) == 0)
                return true;
        return false;
    }

    private bool TryUnprotect(PlannedVma vma)
    {
        if (_uffd!.Unprotect(vma.Entry.Start, vma.Entry.End - vma.Entry.Start) == 0) return true;
        _uffd.Unregister(vma.Entry.Start, vma.Entry.End - vma.Entry.Start);
        return false;
    }

    private Userfaultfd? Fail(string reason)
    {
        Failure = reason;
        return null;
    }

    // Text and read-only data have no pages of their own: nothing to track.
    private static bool HasOwnPages(RunList<PageRun> runs, bool isFile)
    {
        if (!isFile) return runs.Count > 0;
        foreach (var run in runs)
            if ((run.Flags & PageCategories.File) == 0)
                return true;
        return false;
    }
}
