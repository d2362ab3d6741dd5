using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture.Freezing;

/// <summary>What the user is told when a target is gone or may not be touched.</summary>
public static class TargetErrors
{
    private const int CapSysPtrace = 19; // linux/capability.h

    /// <summary>"process 12 (redis-server)".</summary>
    public static string Name(int pid) => TaskStat.Read(pid) is { } stat ? $"process {pid} ({stat.Name})" : $"process {pid}";

    /// <summary>The process ended while crstore was at work on it.</summary>
    public static TargetException Died(int pid, Exception? inner = null) =>
        new($"{Name(pid)} ended during the capture", "nothing was saved; start the target again", inner);

    /// <summary>No such process.</summary>
    public static TargetException Gone(int pid) => new($"there is no process {pid}", "look the pid up again");

    /// <summary>Turns ESRCH of ptrace or /proc on a target into <see cref="Died"/>, and a refusal into who may; other errors into words with the call and errno.</summary>
    public static TargetException From(LinuxException e, int pid) => e.ErrorNumber switch
    {
        Errno.ESRCH or Errno.ECHILD or Errno.ENOENT => NoMemory(pid) ?? Died(pid, e),
        Errno.EACCES or Errno.EPERM when Refusal(pid, pid, e.Message, seizing: false) is { } refusal => refusal,
        _ => new TargetException($"{Name(pid)}: {e.Message}", null, e),
    };

    /// <summary>The same for what is read of a process before anything is done to it.</summary>
    public static TargetException BeforeAll(LinuxException e, int pid) => e.ErrorNumber is Errno.ESRCH or Errno.ENOENT
        ? NoMemory(pid) ?? (TaskStat.Read(pid) is { IsDead: true } dead ? dead.ThreadCount > 1 ? WithoutMainThread(pid) : Exited(pid) : Gone(pid))
        : From(e, pid);

    /// <summary>The kernel shows no memory under its id, while its other threads go on.</summary>
    internal static TargetException WithoutMainThread(int pid) =>
        new($"process {pid} shows no memory: its main thread has exited (pthread_exit), and such a process is not captured, or it is ending",
            "capture it while its main thread runs, or let main wait for the threads (pthread_join) instead of calling pthread_exit");

    /// <summary>A zombie.</summary>
    internal static TargetException Exited(int pid) =>
        new($"{Name(pid)} has exited and only waits for its parent to reap it (zombie)", "start the target again");

    /// <summary>crstore would have to stop itself.</summary>
    internal static TargetException Itself(int pid, int rootPid) =>
        new($"crstore itself (process {pid}) belongs to the tree of {Name(rootPid)}", "run crstore from outside the target");

    /// <summary>Other registers, another way to make system calls.</summary>
    internal static TargetException Is32Bit(int pid, int tid) => new($"{Name(pid)}: thread {tid} runs 32-bit code", "crstore captures 64-bit programs only");

    /// <summary>Kernel threads answer to a process id, and to questions about their memory with ESRCH. Null for all others.</summary>
    internal static TargetException? NoMemory(int pid) => TaskStat.Read(pid) is { IsKernelThread: true }
        ? new TargetException($"{Name(pid)} is a kernel thread: it has no memory of its own", "choose a user process")
        : null;

    /// <summary>Why the kernel refused to attach. Null if the thread has just exited, which looks the same at first.</summary>
    internal static TargetException? Refused(int pid, int tid, int errno) =>
        errno == Errno.ESRCH ? null : Refusal(pid, tid, $"ptrace(PTRACE_SEIZE) thread {tid}: {Errno.Describe(errno)}", seizing: true);

    /// <summary>One tracer shuts out another, but nobody from /proc: while it is frozen, that is crstore itself.</summary>
    private static TargetException? Refusal(int pid, int tid, string said, bool seizing)
    {
        var stat = TaskStat.Read(pid, tid);
        var status = TaskStatusFile.Read(pid, tid);
        if (stat is null || status is null || stat.IsDead) return null;
        var name = $"process {pid} ({stat.Name})";
        if (NoMemory(pid) is { } kernelThread) return kernelThread;
        if (pid == Environment.ProcessId) return new TargetException($"{name} is crstore itself", "run crstore from outside the target");
        if (seizing && status.TracerPid != 0)
            return new TargetException($"{name} is already traced by {Name(ProcessOf(status.TracerPid))}", "a debugger, strace or another crstore: let it finish or detach it first");
        var me = TaskStatusFile.Read(Environment.ProcessId);
        if (me is not null && (me.Capabilities("CapEff") >> CapSysPtrace & 1) == 0) return RefusedUnprivileged(name, said, pid, status, me);
        return new TargetException($"{name} may not be traced: {said}",
            "something stronger than ptrace's own rules refuses: a security module (AppArmor, SELinux), yama ptrace_scope 3, or a user namespace that crstore has no capabilities in");
    }

    private static TargetException RefusedUnprivileged(string name, string said, int pid, TaskStatusFile target, TaskStatusFile me)
    {
        uint uid = me.Uids[1], gid = me.Gids[1];
        if (target.Uids.Take(3).Any(u => u != uid) || target.Gids.Take(3).Any(g => g != gid))
            return new TargetException($"{name} runs as uid {target.Uids[0]}, crstore as uid {uid}: {said}",
                "run crstore as root, as that user, or with CAP_SYS_PTRACE");
        if (YamaScope() is var scope and > 0)
            return new TargetException($"{name} may not be traced: kernel.yama.ptrace_scope is {scope}: {said}",
                scope == 1 ? "set it to 0 (sysctl kernel.yama.ptrace_scope=0), or run crstore as root or with CAP_SYS_PTRACE"
                    : scope == 2 ? "run crstore as root or with CAP_SYS_PTRACE" : "3 forbids ptrace to everyone until the next boot");
        if ((target.Capabilities("CapPrm") & ~me.Capabilities("CapPrm")) != 0)
            return new TargetException($"{name} has capabilities that crstore hasn't: {said}", "run crstore as root or with CAP_SYS_PTRACE");
        // The kernel gives /proc/PID of a process that is not dumpable to root, proc(5).
        return new TargetException($"{name} may not be traced: {(Directory.Exists($"/proc/{pid}") ? "it is not dumpable (PR_SET_DUMPABLE, or a setuid, setgid or unreadable program), or a security module refuses" : "it is gone")}: {said}",
            "run crstore as root or with CAP_SYS_PTRACE");
    }

    /// <summary>The kernel names the tracing thread.</summary>
    internal static int ProcessOf(int tid) => TaskStatusFile.Read(tid)?.ThreadGroup ?? tid;

    private static int YamaScope() =>
        int.TryParse(TaskFile.TryReadText("/proc/sys/kernel/yama/ptrace_scope")?.Trim(), out var scope) ? scope : 0;
}
