namespace Crstore.Linux;

/// <summary>
/// System calls that ask a process for state which only it can ask for: numbers of x86-64 (syscall_64.tbl) and the sizes
/// of what they fill in.
/// </summary>
public static class StateCalls
{
    /// <summary>brk(2): with 0 it changes nothing and returns the current break.</summary>
    public const long Brk = 12;

    /// <summary>rt_sigaction(2): (signal, null, out <see cref="SigActionBytes"/>, <see cref="SigSetBytes"/>).</summary>
    public const long RtSigAction = 13;

    /// <summary>getitimer(2): (which 0 to 2, out <see cref="ItimerBytes"/>).</summary>
    public const long GetItimer = 36;

    /// <summary>sigaltstack(2): (null, out <see cref="StackBytes"/>).</summary>
    public const long SigAltStack = 131;

    /// <summary>prctl(2).</summary>
    public const long Prctl = 157;

    /// <summary>PR_GET_TID_ADDRESS, PR_GET_TID_ADDRESS(2const): the address that set_tid_address(2) set; needs CONFIG_CHECKPOINT_RESTORE.</summary>
    public const long PrGetTidAddress = 40;

    /// <summary>timer_gettime(2): (id, out <see cref="ItimerBytes"/>).</summary>
    public const long TimerGetTime = 224;

    /// <summary>PR_GET_PDEATHSIG (to memory), PR_GET_DUMPABLE, PR_GET_SECUREBITS, PR_GET_CHILD_SUBREAPER (to memory), prctl(2).</summary>
    public const long PrGetPdeathsig = 2, PrGetDumpable = 3, PrGetSecurebits = 27, PrGetChildSubreaper = 37;

    /// <summary>PR_GET_TIMERSLACK, PR_GET_TIMERSLACK(2const): the result, in ns.</summary>
    public const long PrGetTimerSlack = 30;

    /// <summary>PR_GET_TSC (to memory: 1 PR_TSC_ENABLE, 2 PR_TSC_SIGSEGV), PR_GET_MDWE, PR_GET_MEMORY_MERGE, prctl(2).</summary>
    public const long PrGetTsc = 25, PrGetMdwe = 66, PrGetMemoryMerge = 68;

    /// <summary>PR_TSC_SIGSEGV.</summary>
    public const int TscFaults = 2;

    /// <summary>arch_prctl(2): (ARCH_GET_CPUID) gives 0 where cpuid is a fault.</summary>
    public const long ArchPrctl = 158, ArchGetCpuid = 0x1011;

    /// <summary>modify_ldt(2): (0, out table, bytes) gives the bytes, 0 without a table.</summary>
    public const long ModifyLdt = 154;

    /// <summary>The kernel's struct sigaction: handler, flags, restorer, mask, 8 bytes each.</summary>
    public const int SigActionBytes = 32;

    /// <summary>The kernel's sigset_t.</summary>
    public const int SigSetBytes = 8;

    /// <summary>struct itimerval.</summary>
    public const int ItimerBytes = 32;

    /// <summary>stack_t: sp, flags (4 bytes and padding), size.</summary>
    public const int StackBytes = 24;

    /// <summary>Signals are numbered from 1 to this, signal(7).</summary>
    public const int LastSignal = 64;

    /// <summary>SIGCHLD.</summary>
    public const int SigChld = 17;
}
