using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>
/// The kernel's soft-dirty bits (Documentation/admin-guide/mm/soft-dirty.rst). clear_refs resets the whole process at once, so
/// everything is scanned first. And copied afterwards: what others write to the frozen process behind the copy would be lost; and process_vm_readv(2) pins the pages it is at, which clear_refs leaves as they are
/// (pte_is_pinned, fs/proc/task_mmu.c), to be read once more the next time. The zero page must be told apart: a read fault after MADV_DONTNEED maps it with the bit clear.
/// </summary>
/// <param name="witness">Notices moved memory, where the kernel does not mark it; null where it does.</param>
public sealed class SoftDirtyTracker(FrameWitness? witness) : ITracker
{
    private readonly RunList<PageRun> _runs = new(4096);
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
        witness?.Begin(pid);
    }

    /// <inheritdoc/>
    public void Prepare(IReadOnlyList<PlannedVma> vmas)
    {
    }

    /// <inheritdoc/>
    public void Scan(PlannedVma vma, IScanSink sink)
    {
        _runs.Clear();
        _scanner!.Scan(vma.Range, vma.File is not null, _runs);
        // Pages merged by KSM share a frame, which would then prove nothing.
        vma.Tracked = vma.Trackable && !VmaClassifier.HasFlag(vma.VmFlags, "mg");
        if (vma.Tracked) witness?.Check(vma, _runs);
        sink.Take(_runs, vma.Tracked);
    }

    /// <inheritdoc/>
    public void Finish() => ClearRefs.SoftDirty(_pid);

    /// <summary>After the thaw, if the scan was finished.</summary>
    public void Save() => witness?.Save();

    /// <inheritdoc/>
    public void End()
    {
        _scanner?.Dispose();
        _scanner = null;
        witness?.Dispose();
    }

    /// <inheritdoc/>
    public void Dispose() => End();
}
