namespace Crstore.Linux;

/// <summary>What waitid(2) says of a tracee or child.</summary>
public enum WaitKind
{
    /// <summary>Nothing yet.</summary>
    Nothing,

    /// <summary>In a ptrace stop; see <see cref="WaitReport.Signal"/> and <see cref="WaitReport.Event"/>.</summary>
    Stopped,

    /// <summary>Exited, or killed by a signal.</summary>
    Dead,

    /// <summary>Not a child or tracee of ours, or not any more (ECHILD).</summary>
    Unknown,
}

/// <summary>A report of waitid(2).</summary>
/// <param name="Kind">What happened.</param>
/// <param name="Status">Stopped: signal | event &lt;&lt; 8. Dead: the exit code, or the signal that killed it.</param>
/// <param name="Killed">Dead by a signal.</param>
public readonly record struct WaitReport(WaitKind Kind, int Status, bool Killed)
{
    /// <summary>PTRACE_EVENT_STOP, linux/ptrace.h: the stop that PTRACE_INTERRUPT asked for, or a group-stop.</summary>
    public const int EventStop = 128;

    /// <summary>PTRACE_EVENT_FORK, _VFORK and _CLONE, linux/ptrace.h.</summary>
    private const int EventFork = 1, EventClone = 3;

    /// <summary>The PTRACE_EVENT_ number, 0 for a signal-delivery-stop or a system call stop.</summary>
    public int Event => Status >> 8;

    /// <summary>The signal, without the system call mark.</summary>
    public int Signal => Status & 0x7f;

    /// <summary>A system call stop (PTRACE_O_TRACESYSGOOD sets the bit).</summary>
    public bool IsSyscallStop => Kind == WaitKind.Stopped && Event == 0 && (Status & 0x80) != 0;

    /// <summary>A PTRACE_EVENT_STOP.</summary>
    public bool IsEventStop => Kind == WaitKind.Stopped && Event == EventStop;

    /// <summary>The tracee has made a thread or process; <see cref="Ptrace.GetEventMessage"/> tells which.</summary>
    public bool IsBirth => Kind == WaitKind.Stopped && Event is >= EventFork and <= EventClone;

    /// <summary>A signal is about to be delivered: it must be passed on when the tracee goes on.</summary>
    public bool IsSignalDelivery => Kind == WaitKind.Stopped && Event == 0 && (Status & 0x80) == 0;

    /// <summary>A PTRACE_EVENT_STOP of a process in group-stop (SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU).</summary>
    public bool IsGroupStop => IsEventStop && Signal != Signals.SIGTRAP;
}

/// <summary>waitid(2) on single tracees and children, never blocking: a dead or stuck target must not hang crstore.</summary>
public static unsafe class ChildWait
{
    // idtype and options, sys/wait.h and linux/wait.h.
    private const int PAll = 0, PPid = 1, WNoThread = 0x20000000, WNoHang = 1, WStopped = 2, WExited = 4, WNoWait = 0x01000000, WAll = 0x40000000;

    // si_code of SIGCHLD, sigaction(2).
    private const int CldExited = 1, CldKilled = 2, CldDumped = 3;

    /// <summary>
    /// Looks without consuming a stop. A consumed signal-delivery-stop loses its signal if the tracer dies before it goes
    /// on; one that was only looked at does not. A death is consumed only if asked (the zombie is then gone).
    /// </summary>
    public static WaitReport Poll(int tid, bool reap = false)
    {
        var report = Look(tid, WStopped | WExited | WNoWait);
        if (reap && report.Kind == WaitKind.Dead) Look(tid, WExited);
        return report;
    }

    /// <summary>Waits for the death of a child, and takes it.</summary>
    public static WaitReport AwaitDeath(int pid) => Look(pid, WExited, WAll);

    /// <summary>Waits for the death of a child, or until job control stops it, and takes either.</summary>
    public static WaitReport AwaitDeathOrStop(int pid) => Look(pid, WExited | WStopped, WAll);

    /// <summary>
    /// Waits for a stop or death of any tracee or child of the calling thread; takes neither, so that a stop is reported again until the tracee
    /// goes on. <see cref="WaitKind.Unknown"/>: there is none left.
    /// </summary>
    /// <param name="tid">Whose.</param>
    public static WaitReport AwaitAny(out int tid) => Look(PAll, 0, WStopped | WExited | WNoWait, WAll | WNoThread, out tid);

    private static WaitReport Look(int tid, int options, int how = WNoHang | WAll) => Look(PPid, tid, options, how, out _);

    private static WaitReport Look(int kind, int tid, int options, int how, out int found)
    {
        // siginfo_t: si_code at 8, si_pid at 16, si_status at 24 (asm-generic/siginfo.h).
        var info = stackalloc int[32];
        info[4] = 0;
        found = 0;
        while (true)
        {
            var errno = RawSyscall.Errno(RawSyscall.Waitid, kind, tid, (long)info, options | how, 0);
            if (errno == Errno.EINTR) continue;
            if (errno == Errno.ECHILD) return new WaitReport(WaitKind.Unknown, 0, false);
            if (errno != 0) throw new LinuxException("waitid", errno, $"thread {tid}");
            break;
        }
        found = info[4];
        if (found == 0) return default;
        return info[2] is CldExited or CldKilled or CldDumped
            ? new WaitReport(WaitKind.Dead, info[6], info[2] != CldExited)
            : new WaitReport(WaitKind.Stopped, info[6], false);
    }
}
