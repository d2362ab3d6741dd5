using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>
/// Tells which pages of a process were written since the last time it was asked. It only reports: whether its word may be
/// believed (continuity) is decided by the continuity verdict and <see cref="PagePlan"/>.
/// In the freeze: <see cref="Begin"/>, <see cref="Prepare"/>, <see cref="Scan"/> per VMA in address order, <see cref="Finish"/>. All on the ptrace thread.
/// </summary>
public interface ITracker : IDisposable
{
    /// <summary>Which one.</summary>
    TrackerKind Kind { get; }

    /// <summary>Categories of a scan that mean "written"; none: everything counts as written.</summary>
    PageCategories Dirty { get; }

    /// <summary>fd number of the parked userfaultfd in the target; 0 if none.</summary>
    int ParkedFd { get; }

    /// <summary>Opens the frozen process.</summary>
    /// <param name="pid">Process.</param>
    /// <param name="tid">A thread of it to run system calls in.</param>
    /// <param name="remote">System calls in the target; null if they can't be had.</param>
    void Begin(int pid, int tid, IRemoteSyscalls? remote);

    /// <summary>Before the first scan, with nobody else busy with the memory of the process.</summary>
    /// <param name="vmas">Its mappings as of the freeze.</param>
    void Prepare(IReadOnlyList<PlannedVma> vmas);

    /// <summary>
    /// Scans a VMA and resets its dirty state (at once, or at <see cref="Finish"/>), so that the next scan tells what was
    /// written from now on. Sets <see cref="PlannedVma.Tracked"/> if it will.
    /// </summary>
    /// <param name="vma">The mapping.</param>
    /// <param name="sink">Given its populated pages in address order, in one piece or several.</param>
    void Scan(PlannedVma vma, IScanSink sink);

    /// <summary>After the last VMA.</summary>
    void Finish();

    /// <summary>Forgets the frozen process: it is about to run again.</summary>
    void End();
}

/// <summary>Takes what a scan found, piece by piece: the pages of one piece can be copied while the next is scanned.</summary>
public interface IScanSink
{
    /// <summary>The populated pages of the next piece of a VMA.</summary>
    /// <param name="runs">In address order; only for the call.</param>
    /// <param name="covered">The tracker covered the piece since the last reset: a clean page was not written.</param>
    void Take(RunList<PageRun> runs, bool covered);
}
