using Crstore.Model.Format;
using Crstore.Objects.Files;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Objects.Processes;

/// <summary>What prctl(2) and the like have set of a process, and of each of its threads.</summary>
public sealed class Settings : IProcessPart
{
    /// <inheritdoc/>
    public string Name => "setting";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "timer slack, transparent huge pages, merging (KSM), no memory both writable and executable (MDWE), rdtsc and cpuid as faults, memory failures (MCE_KILL), IO_FLUSHER, speculation control, utilization clamps, mlockall(MCL_FUTURE); NUMA policies and Landlock domains are lost: it says so",
        "", "local descriptor tables (modify_ldt)");

    /// <inheritdoc/>
    public IEnumerable<string> Objects(Process process) => process.Zombie ? [] : [NameOf(process)];

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        ArgumentNullException.ThrowIfNull(process);
        ArgumentNullException.ThrowIfNull(scene);
        if (process.Zombie) yield break;
        if (process.DescriptorTable) yield return Tell(Verdict.Refused("it has a local descriptor table (modify_ldt): segments of its own can't be made again"));
        if (process.MemoryPolicy.Length > 0)
            yield return Tell(Verdict.But($"on which NUMA nodes its memory is to be (mbind, set_mempolicy: “{process.MemoryPolicy}”) is the kernel's choice again"));
        if (process.MayBeLandlocked)
            yield return Tell(Verdict.But("no_new_privs is set: if it has confined itself with Landlock, which the kernel tells nobody, it isn't confined any more"));
        if (process.Threads.Any(t => !t.HasTimerSlackNs)) yield return Tell(Verdict.But("its timer slack is not known: it has crstore's"));
        if (process == scene.Body.Processes[0] && (process.ParentDeathSignal != 0 || process.Threads.Any(t => t.ParentDeathSignal != 0)))
            yield return Tell(Verdict.But("its parent-death signal (PR_SET_PDEATHSIG) is dropped: its parent is crstore, whose end must not be its own"));
        foreach (var thread in process.Threads)
        {
            if (Speculation.WhyNot(thread) is { } why) yield return new ObjectVerdict(Name, NameOf(thread, process), Verdict.But(why));
            if (UtilizationClamps.WhyNot(thread) is { } clamps) yield return new ObjectVerdict(Name, NameOf(thread, process), Verdict.But(clamps));
        }

        ObjectVerdict Tell(Verdict verdict) => new(Name, NameOf(process), verdict);
    }

    private static string NameOf(Process process) => $"settings of process {process.Pid}";

    private static string NameOf(Thread thread, Process process) => $"settings of thread {thread.Tid} of process {process.Pid}";
}
