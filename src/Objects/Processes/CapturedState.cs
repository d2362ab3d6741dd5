using Crstore.Model.Format;
using Crstore.Objects.Files;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Objects.Processes;

/// <summary>Registers, signal handlers and the like: what the process had to be asked for at the capture.</summary>
public sealed class CapturedState : IProcessPart
{
    private const int OwnThreadsClock = -2; // CLOCK_THREAD_CPUTIME_ID as /proc/PID/timers has it: THREAD_CLOCK, kernel/time/posix-cpu-timers.c

    /// <inheritdoc/>
    public string Name => "state";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "registers, vector state, TLS, rseq, robust lists, alternate stacks, names, masks, handlers, pending signals, interval and POSIX timers, scheduling (with deadlines and reset on fork), affinity, I/O priority, limits, umask, personality, credentials, capabilities, securebits, dumpable, subreaper, parent-death signals",
        "", "threads with credentials, secure bits, seccomp, fds, directories or namespaces of their own; timers of the processor time of one of several threads (CLOCK_THREAD_CPUTIME_ID); processes that share memory or fds (clone, vfork); processes that could not be asked (strict seccomp, PR_SET_SYSCALL_USER_DISPATCH and others, `doctor PID` says so)");

    /// <inheritdoc/>
    public IEnumerable<string> Objects(Process process)
    {
        ArgumentNullException.ThrowIfNull(process);
        yield return $"process {process.Pid}";
        foreach (var thread in process.Threads) yield return NameOf(thread, process);
        foreach (var timer in process.PosixTimers) yield return NameOf(timer, process);
        if (process.Itimers.Span.ContainsAnyExcept((byte)0)) yield return $"interval timers of process {process.Pid}";
    }

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        if (process.Shares.Length > 0) yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused($"it shares its {process.Shares} with its parent (clone, vfork)"));
        foreach (var thread in process.Threads.Where(t => t.Differs.Length > 0))
            yield return new ObjectVerdict(Name, NameOf(thread, process), Verdict.Refused($"it has other {thread.Differs} than the main thread"));
        // The kernel says which clock it is, not of which thread: whoever made the timer.
        foreach (var timer in process.PosixTimers.Where(t => t.Clock == OwnThreadsClock && process.Threads.Count > 1))
            yield return new ObjectVerdict(Name, NameOf(timer, process), Verdict.Refused("it counts the processor time of one of several threads, and the kernel does not say of which"));
        if (process.StateIncomplete.Length > 0)
            yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused($"signal handlers and thread details are missing: {process.StateIncomplete}"));
    }

    private static string NameOf(Thread thread, Process process) => $"thread {thread.Tid} of process {process.Pid}";

    private static string NameOf(PosixTimer timer, Process process) => $"timer {timer.Id} of process {process.Pid}";
}
