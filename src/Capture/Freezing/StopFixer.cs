using Crstore.Linux;

namespace Crstore.Capture.Freezing;

/// <summary>
/// Makes the interruption invisible to a thread that has just entered PTRACE_EVENT_STOP. Done per thread as soon as it
/// stops: if crstore dies before, the thread sees what SIGSTOP and SIGCONT would have shown it.
/// </summary>
internal static class StopFixer
{
    /// <summary>Fixes a stopped thread's registers.</summary>
    public static void Fix(int tid, UserRegs regs)
    {
        // Its timeout starts over, unless SleepWatch knows what is left of it.
        var changed = InterruptedCall.Repeat(ref regs);
        if (AbortAddress(tid, regs.Rip) is { } abort)
        {
            // A stop always aborts a restartable sequence, but only as long as rip stays in it: an injected call would hide it.
            regs.Rip = abort;
            changed = true;
        }
        if (changed) Ptrace.SetRegs(tid, regs);
    }

    /// <summary>The abort handler, if the address lies within the thread's active rseq critical section (rseq(2), linux/rseq.h).</summary>
    private static ulong? AbortAddress(int tid, ulong rip)
    {
        if (Ptrace.GetRseq(tid) is not { Address: not 0 } rseq) return null;
        // struct rseq: rseq_cs at 8; struct rseq_cs: start_ip at 8, post_commit_offset at 16, abort_ip at 24.
        if (Ptrace.Peek(tid, rseq.Address + 8) is not (> 0 and var section)) return null;
        if (Ptrace.Peek(tid, section + 8) is not { } start || Ptrace.Peek(tid, section + 16) is not { } length) return null;
        return rip - start < length ? Ptrace.Peek(tid, section + 24) : null;
    }
}
