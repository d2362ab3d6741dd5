namespace Crstore.Linux;

/// <summary>Signal numbers, signal(7), and sending them.</summary>
public static class Signals
{
#pragma warning disable CS1591 // names are the documentation
    public const int SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGTRAP = 5, SIGKILL = 9, SIGUSR1 = 10, SIGUSR2 = 12, SIGTERM = 15, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20, SIGTTOU = 22, SIGURG = 23, SIGWINCH = 28;
#pragma warning restore CS1591

    /// <summary>All signals blocked (SIGKILL and SIGSTOP never are).</summary>
    public const ulong AllBlocked = ulong.MaxValue;

    /// <summary>kill(2). 0 or the errno: ESRCH if the process is gone, EPERM if it may not be signalled.</summary>
    public static int TryKill(int pid, int signal) => RawSyscall.Errno(RawSyscall.Kill, pid, signal);

    /// <summary>kill(2).</summary>
    public static void Kill(int pid, int signal)
    {
        var errno = TryKill(pid, signal);
        if (errno != 0) throw new LinuxException($"kill({signal})", errno, $"process {pid}");
    }

    /// <summary>tgkill(2): to one thread. 0 or the errno.</summary>
    public static int TryKillThread(int pid, int tid, int signal) => RawSyscall.Errno(RawSyscall.Tgkill, pid, tid, signal);
}
