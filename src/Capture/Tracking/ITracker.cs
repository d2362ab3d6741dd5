using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>
/// Tells which pages of a process were written since the last time it was asked. It only reports: whether its word may be
/// believed (continuity) is decided by the continuity verdict and <see cref="PagePlan"/>.
/// In the freeze: <see cref="Begin"/>, <see cref="Scan"/> per VMA, <see cref="Finish"/>. All on the ptrace thread.
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

    /// <summary>
    /// Scans a VMA and resets its dirty state (at once, or at <see cref="Finish"/>), so that the next scan tells what was
    /// written from now on. Sets <see cref="PlannedVma.Tracked"/> if it will.
    /// </summary>
    /// <returns>True if the tracker covered the whole VMA since the last reset: a clean page was not written.</returns>
    bool Scan(PlannedVma vma, RunList<PageRun> runs);

    /// <summary>After the last VMA.</summary>
    void Finish();

    /// <summary>Forgets the frozen process: it is about to run again.</summary>
    void End();
}
