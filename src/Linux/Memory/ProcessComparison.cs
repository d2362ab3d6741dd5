namespace Crstore.Linux.Memory;

/// <summary>kcmp(2).</summary>
public static class ProcessComparison
{
    private const long SysKcmp = 312; // kcmp, x86-64
    private const long KcmpVm = 1;    // KCMP_VM

    /// <summary>True if both processes have the same address space. False as well where the kernel won't tell (no kcmp, no ptrace access).</summary>
    public static bool ShareMemory(int pid, int other) => RawSyscall.Invoke(SysKcmp, pid, other, KcmpVm) == 0;
}
