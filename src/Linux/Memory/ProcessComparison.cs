namespace Crstore.Linux.Memory;

/// <summary>kcmp(2).</summary>
public static class ProcessComparison
{
    private const long SysKcmp = 312; // kcmp, x86-64
    private const long KcmpVm = 1, KcmpFiles = 2, KcmpFs = 3; // KCMP_VM, KCMP_FILES, KCMP_FS

    /// <summary>What two processes share by clone(2): "memory", "files" (the table of fds), "directory"; empty if nothing.</summary>
    public static string Shared(int pid, int other) =>
        ShareMemory(pid, other) ? "memory" : RawSyscall.Invoke(SysKcmp, pid, other, KcmpFiles) == 0 ? "files" : RawSyscall.Invoke(SysKcmp, pid, other, KcmpFs) == 0 ? "directory" : "";

    /// <summary>What one thread has apart from another of its process, by unshare(2): "files" (the table of fds), "directories" (and umask); empty if nothing, or if the kernel won't tell.</summary>
    public static string Apart(int tid, int other) =>
        RawSyscall.Invoke(SysKcmp, tid, other, KcmpFiles) > 0 ? "files" : RawSyscall.Invoke(SysKcmp, tid, other, KcmpFs) > 0 ? "directories" : "";

    /// <summary>True if one of two threads of a process is ending, or has: its memory is what it gives up first (do_exit, kernel/exit.c).</summary>
    public static bool IsEnding(int tid, int other) => RawSyscall.Invoke(SysKcmp, tid, other, KcmpVm) is > 0 or -Errno.ESRCH;

    /// <summary>True if both processes have the same address space. False as well where the kernel won't tell (no kcmp, no ptrace access).</summary>
    public static bool ShareMemory(int pid, int other) => RawSyscall.Invoke(SysKcmp, pid, other, KcmpVm) == 0;

    /// <summary>True if both processes have address spaces of their own. False as well where the kernel won't tell.</summary>
    public static bool HaveMemoryApart(int pid, int other) => RawSyscall.Invoke(SysKcmp, pid, other, KcmpVm) > 0;
}
