using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture.Injection;

/// <summary>
/// The copy of a process that fork(2) would make, without the process having a child afterwards: a helper that shares its memory (vfork) makes it and exits, all within the freeze, so that the copy is an
/// orphan from then on, whose end init takes. It has no fds, blocks all signals, and never runs: it stops at its birth, and is killed by us or, should we die, by the kernel.
/// </summary>
internal static class SnapshotBirth
{
    /// <summary>clone(2), and flags of it: share the table of fds.</summary>
    public const long Clone = 56, CloneFiles = 0x400;

    private const long CloneVm = 0x100, CloneVfork = 0x4000;

    /// <summary>The helper: shares memory and fds; the caller waits for its end. No signal at that.</summary>
    public const long HelperFlags = CloneVm | CloneVfork | CloneFiles;

    /// <summary>Of the thread meanwhile, inherited by helper and copy.</summary>
    public const PtraceOptions Options = PtraceOptions.TraceSysGood | PtraceOptions.TraceVfork | PtraceOptions.TraceClone;

    // A fork takes 30 ms per GiB: far more than any other call that is injected.
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(30);

    /// <summary>
    /// The thread has stopped in its clone with the helper's birth: leads the helper through its life.
    /// </summary>
    /// <param name="pid">The process.</param>
    /// <param name="tid">Its thread.</param>
    /// <param name="errno">Why there is no copy.</param>
    /// <returns>The copy's process id, stopped at its birth; 0 if there is none.</returns>
    public static int Attend(int pid, int tid, out int errno)
    {
        var helper = Ptrace.GetEventMessage(tid);
        AwaitBirth(pid, helper);
        Ptrace.Continue(helper);
        var copy = 0;
        while (true)
        {
            var report = StopWait.Next(helper, StopWait.DeadlineIn(Timeout));
            if (report.IsBirth)
            {
                copy = Ptrace.GetEventMessage(helper);
                AwaitBirth(pid, copy);
                if (Ptrace.TrySetOptions(copy, PtraceOptions.TraceSysGood | PtraceOptions.ExitKill) != 0) throw TargetErrors.Died(pid);
                Ptrace.Continue(helper);
            }
            else if (report.Kind == WaitKind.Stopped)
            {
                Ptrace.Continue(helper, report.IsSignalDelivery ? report.Signal : 0);
            }
            else if (report.Kind == WaitKind.Dead)
            {
                errno = copy != 0 || report.Killed ? 0 : 256 - report.Status; // exit(-errno)
                return copy;
            }
            else
            {
                throw Stuck(pid, "the helper");
            }
        }
    }

    private static void AwaitBirth(int pid, int tid)
    {
        var report = StopWait.Next(tid, StopWait.DeadlineIn(Timeout));
        if (!report.IsEventStop) throw report.Kind == WaitKind.Stopped ? Stuck(pid, "a child") : TargetErrors.Died(pid);
    }

    private static TargetException Stuck(int pid, string who) => new($"{TargetErrors.Name(pid)}: {who} that was to make a copy of it does not go on");
}
