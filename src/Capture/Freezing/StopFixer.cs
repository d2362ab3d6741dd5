using Crstore.Linux;

namespace Crstore.Capture.Freezing;

/// <summary>
/// Makes the interruption invisible to a thread that has just entered PTRACE_EVENT_STOP. Done per thread as soon as it
/// stops: if crstore dies before, the thread sees what SIGSTOP and SIGCONT would have shown it.
/// </summary>
internal static class StopFixer
{
    // -EINTR and the kernel's internal "restart me unless a handler runs" (linux/errno.h).
    private const ulong Interrupted = unchecked((ulong)-4), RestartNoHandler = unchecked((ulong)-514);

    /// <summary>
    /// System calls that give EINTR on any interruption, even without a signal handler (signal(7), last section), and that
    /// have done nothing yet when they do: read, write, readv, writev and the socket calls (with a socket timeout),
    /// semop, semtimedop, rt_sigtimedwait, io_getevents, io_pgetevents, epoll_wait, epoll_pwait, epoll_pwait2, io_uring_enter.
    /// </summary>
    private static readonly ulong[] RestartedBySeizer =
        [0, 1, 19, 20, 43, 44, 45, 46, 47, 288, 299, 307, 65, 220, 128, 208, 333, 232, 281, 441, 426];

    /// <summary>Fixes a stopped thread's registers.</summary>
    public static void Fix(int tid, UserRegs regs)
    {
        var changed = false;
        if (regs.Rax == Interrupted && Array.IndexOf(RestartedBySeizer, regs.OrigRax) >= 0)
        {
            // The kernel now repeats the call, or gives EINTR if a handler runs first. A relative timeout starts over, unless SleepWatch knows what is left of it.
            regs.Rax = RestartNoHandler;
            changed = true;
        }
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
