using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>
/// The kernel's soft-dirty bits (Documentation/admin-guide/mm/soft-dirty.rst). clear_refs resets the whole process at once, so
/// everything is scanned first. The zero page must be told apart: a read fault after MADV_DONTNEED maps it with the bit clear.
/// </summary>
public sealed class SoftDirtyTracker : ITracker
{
    private IPageScanner? _scanner;
    private int _pid;

    /// <inheritdoc/>
    public TrackerKind Kind => TrackerKind.SoftDirty;

    /// <inheritdoc/>
    public PageCategories Dirty => PageCategories.SoftDirty;

    /// <inheritdoc/>
    public int ParkedFd => 0;

    /// <inheritdoc/>
    public void Begin(int pid, int tid, IRemoteSyscalls? remote)
    {
        _pid = pid;
        _scanner = KernelProbes.Current.OpenScanner(pid, needSoftDirty: true);
    }

    /// <inheritdoc/>
    public bool Scan(PlannedVma vma, List<PageRun> runs)
    {
        _scanner!.Scan(vma.Range, vma.File is not null, runs);
        return vma.Tracked = vma.Trackable;
    }

    /// <inheritdoc/>
    public void Finish() => ClearRefs.SoftDirty(_pid);

    /// <inheritdoc/>
    public void End()
    {
        _scanner?.Dispose();
        _scanner = null;
    }

    /// <inheritdoc/>
    public void Dispose() => End();
}
