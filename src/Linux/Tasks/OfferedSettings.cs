namespace Crstore.Linux;

/// <summary>Which settings of a process this kernel and processor have at all: those that they have not are not asked for. Found out by trying, once.</summary>
public static class OfferedSettings
{
    private const long Prctl = StateCalls.Prctl, ArchSetCpuid = 0x1012;               // prctl(2), arch_prctl(2)
    private const long CreateRuleset = 444, RulesetVersion = 1;                       // landlock_create_ruleset(2): with this flag it returns the version

    /// <summary>PR_SET_MDWE, since Linux 6.3.</summary>
    public static bool DenyWriteExecute { get; } = RawSyscall.Invoke(Prctl, StateCalls.PrGetMdwe) >= 0;

    /// <summary>PR_SET_MEMORY_MERGE, since Linux 6.4.</summary>
    public static bool MemoryMerge { get; } = RawSyscall.Invoke(Prctl, StateCalls.PrGetMemoryMerge) >= 0;

    /// <summary>This process has it.</summary>
    public static bool MergesMemory { get; } = RawSyscall.Invoke(Prctl, StateCalls.PrGetMemoryMerge) > 0;

    /// <summary>ARCH_SET_CPUID: processors of Intel. Sets what is so anyhow.</summary>
    public static bool CpuidFaults { get; } = RawSyscall.Invoke(StateCalls.ArchPrctl, ArchSetCpuid, 1) == 0;

    /// <summary>modify_ldt(2), which a kernel may be built without.</summary>
    public static bool DescriptorTables { get; } = RawSyscall.Invoke(StateCalls.ModifyLdt) >= 0;

    /// <summary>landlock(7), if it is built in and in use.</summary>
    public static bool Landlock { get; } = RawSyscall.Invoke(CreateRuleset, 0, 0, RulesetVersion) > 0;
}
