using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>Registers, signal handlers and the like: what the process had to be asked for at the capture.</summary>
public sealed class CapturedState : IProcessPart
{
    /// <inheritdoc/>
    public string Name => "state";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "registers, vector state, TLS, rseq, robust lists, alternate stacks, names, masks, handlers, pending signals, interval and POSIX timers, scheduling (with deadlines and reset on fork), affinity, limits, umask, personality, credentials, capabilities, securebits, dumpable, subreaper",
        "", "threads with credentials or seccomp of their own; processes that share memory or fds (clone, vfork); processes that could not be asked (strict seccomp and others, `doctor PID` says so)");

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        if (process.Shares.Length > 0) yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused($"it shares its {process.Shares} with its parent (clone, vfork)"));
        foreach (var thread in process.Threads.Where(t => t.Differs.Length > 0))
            yield return new ObjectVerdict(Name, $"thread {thread.Tid} of process {process.Pid}", Verdict.Refused($"it has other {thread.Differs} than the main thread"));
        if (process.StateIncomplete.Length > 0)
            yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused($"signal handlers and thread details are missing: {process.StateIncomplete}"));
    }
}
