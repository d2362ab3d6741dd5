using Crstore.Linux.Proc;
using Crstore.Objects.Processes;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Restore.Restart;

/// <summary>What prctl(2) and the like have set of one thread. On the ptrace thread.</summary>
internal static class ThreadSettings
{
    // Flags of a thread in its stat, linux/sched.h. PF_IO_FLUSHER is PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE.
    private const ulong MceProcess = 0x80, MceEarly = 0x08000000, IoFlusher = 0x00180000;

    // Puppets begin with crstore's.
    private static readonly Lazy<ulong> OwnFlags = new(() => StatLine.Parse(File.ReadAllBytes("/proc/self/stat")).Flags);

    /// <summary>What takes privileges, or does no harm to what follows.</summary>
    public static void Set(Puppet puppet, Thread thread)
    {
        if (thread.TimerSlackNs != 0) puppet.Queue($"prctl(PR_SET_TIMERSLACK) of thread {thread.Tid}", SystemCalls.Prctl, SystemCalls.PrSetTimerSlack, (long)thread.TimerSlackNs, 0, 0, 0);
        var flags = StatLine.Parse(thread.Stat.Span).Flags;
        var changed = flags ^ OwnFlags.Value;
        if ((changed & (MceProcess | MceEarly)) != 0)
        {
            const int set = 1, late = 0, early = 1, standard = 2; // PR_MCE_KILL_
            var policy = (flags & MceProcess) == 0 ? standard : (flags & MceEarly) != 0 ? early : late;
            puppet.Queue($"prctl(PR_MCE_KILL) of thread {thread.Tid}", SystemCalls.Prctl, SystemCalls.PrMceKill, set, policy, 0, 0);
        }

        if ((changed & IoFlusher) != 0)
            puppet.Queue($"prctl(PR_SET_IO_FLUSHER) of thread {thread.Tid}", SystemCalls.Prctl, SystemCalls.PrSetIoFlusher, (flags & IoFlusher) == IoFlusher ? 1 : 0, 0, 0, 0);
    }

    /// <summary>What could be in the way of what follows, or make it slower.</summary>
    public static void SetLast(Restarted process)
    {
        for (var i = 0; i < process.Threads.Count; i++) SetLast(process.Threads[i], process.Message.Threads[i], process);
    }

    private static void SetLast(Puppet puppet, Thread thread, Restarted process)
    {
        const int faults = 2; // PR_TSC_SIGSEGV
        for (var kind = Speculation.StoreBypass; kind <= Speculation.IndirectBranch; kind++)
        {
            if (Speculation.Setting(Speculation.Of(thread, kind), Speculation.Mine(kind)) is { } setting)
                puppet.Queue($"prctl(PR_SET_SPECULATION_CTRL) of thread {thread.Tid}", SystemCalls.Prctl, SystemCalls.PrSetSpeculationCtrl, kind, setting, 0, 0);
        }

        // The leader's comes with what else a change of credentials resets. The root's parent is crstore.
        if (thread.ParentDeathSignal != 0 && puppet != process.Leader && !process.IsRoot)
            puppet.Queue($"prctl(PR_SET_PDEATHSIG) of thread {thread.Tid}", SystemCalls.Prctl, SystemCalls.PrSetPdeathsig, thread.ParentDeathSignal, 0, 0, 0);
        if (thread.TimeStampFaults) puppet.Queue($"prctl(PR_SET_TSC) of thread {thread.Tid}", SystemCalls.Prctl, SystemCalls.PrSetTsc, faults, 0, 0, 0);
        if (thread.CpuidFaults) puppet.Queue($"arch_prctl(ARCH_SET_CPUID) of thread {thread.Tid}", SystemCalls.ArchPrctl, SystemCalls.ArchSetCpuid, 0);
        puppet.Flush();
    }
}
