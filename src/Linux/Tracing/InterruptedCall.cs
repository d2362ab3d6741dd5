namespace Crstore.Linux;

/// <summary>
/// System calls that give EINTR on any interruption, even without a signal handler (signal(7), last section), and that
/// have done nothing yet when they do: read, write, readv, writev and the socket calls (with a socket timeout),
/// semop, semtimedop, rt_sigtimedwait, io_getevents, io_pgetevents, epoll_wait, epoll_pwait, epoll_pwait2, io_uring_enter.
/// </summary>
public static class InterruptedCall
{
    // -EINTR and the kernel's internal "restart me unless a handler runs" (linux/errno.h).
    private const ulong Interrupted = unchecked((ulong)-4), RestartNoHandler = unchecked((ulong)-514);

    private static readonly ulong[] RestartedBySeizer =
        [0, 1, 19, 20, 43, 44, 45, 46, 47, 288, 299, 307, 65, 220, 128, 208, 333, 232, 281, 441, 426];

    /// <summary>
    /// Makes a thread in PTRACE_EVENT_STOP repeat such a call, or get its EINTR if a handler runs first. A relative timeout starts over.
    /// </summary>
    /// <returns>True if the registers were changed.</returns>
    public static bool Repeat(ref UserRegs regs)
    {
        if (regs.Rax != Interrupted || Array.IndexOf(RestartedBySeizer, regs.OrigRax) < 0) return false;
        regs.Rax = RestartNoHandler;
        return true;
    }
}
