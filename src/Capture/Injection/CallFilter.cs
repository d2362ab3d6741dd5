using Crstore.Linux;
using Crstore.Linux.Proc;

namespace Crstore.Capture.Injection;

/// <summary>What stands between a thread and injected calls.</summary>
/// <param name="Suspended">Its seccomp filter, which ends with the loan or with us.</param>
/// <param name="SignalsCaught">Signals that its process has handlers for.</param>
internal readonly record struct CallFilter(bool Suspended, ulong SignalsCaught)
{
    private const ulong NoSeccomp = 0, StrictSeccomp = 1;

    /// <summary>Suspends a seccomp filter, if there is one.</summary>
    /// <param name="pid">Process.</param>
    /// <param name="tid">Thread.</param>
    /// <param name="whyNot">Why nothing can be injected; null if it can.</param>
    public static CallFilter Suspend(int pid, int tid, out string? whyNot)
    {
        whyNot = "it has its system calls dispatched to itself (PR_SET_SYSCALL_USER_DISPATCH), and an injected one would be, too";
        if (Ptrace.HasUserDispatch(tid)) return default;
        whyNot = null;
        var status = TaskFile.ReadBytes($"/proc/{pid}/task/{tid}/status");
        // Without the line nothing is known: then none may be taken for one that is not caught.
        var caught = status.AsSpan().IndexOf("\nSigCgt:"u8) < 0 ? ulong.MaxValue : StatusNumber.Hex(status, "\nSigCgt:"u8);
        var mode = StatusNumber.Decimal(status, "\nSeccomp:"u8);
        if (mode == NoSeccomp) return new CallFilter(false, caught);
        if (mode == StrictSeccomp)
        {
            whyNot = "it runs under strict seccomp, where any injected system call would kill it";
            return default;
        }

        var errno = Ptrace.TrySetOptions(tid, PtraceOptions.TraceSysGood | PtraceOptions.SuspendSeccomp);
        whyNot = errno switch
        {
            0 => null,
            Errno.EPERM => "it has a seccomp filter that an injected system call could violate, and suspending it needs CAP_SYS_ADMIN (run crstore as root)",
            _ => $"it has a seccomp filter that an injected system call could violate, and it can't be suspended: ptrace(PTRACE_SETOPTIONS, SUSPEND_SECCOMP): {Errno.Describe(errno)}",
        };
        return new CallFilter(errno == 0, caught);
    }
}
