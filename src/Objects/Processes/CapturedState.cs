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
        "registers, vector state, TLS, rseq, robust lists, alternate stacks, names, masks, handlers, pending signals, interval and POSIX timers, scheduling, affinity, limits, umask, personality, credentials, capabilities, securebits, dumpable, subreaper",
        "", "processes that could not be asked (strict seccomp and others, `doctor PID` says so)");

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        if (process.StateIncomplete.Length > 0)
            yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused($"signal handlers and thread details are missing: {process.StateIncomplete}"));
    }
}
