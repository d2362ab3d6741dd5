using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>Sessions, process groups, and who is whose child.</summary>
public sealed class SessionsAndGroups : IProcessPart
{
    /// <inheritdoc/>
    public string Name => "session";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "the tree, its sessions, groups and zombies, with their ids, also where a leader has exited; processes that were adopted",
        "a session or group that leads outside, or of a leader that has exited whose id others have: crstore's own, with --detach a new one; a leader's terminal outside: a pseudo-terminal that is copied to and from crstore's own; without one, or with --detach, none, with a warning",
        "a process in a session in which it can't have been born where it is now; leaders of groups that are in each other's groups in a circle, with nobody else in them");

    /// <inheritdoc/>
    public IEnumerable<string> Objects(Process process)
    {
        ArgumentNullException.ThrowIfNull(process);
        return [NameOfSession(process), NameOfGroup(process)];
    }

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        var processes = scene.Body.Processes;
        var root = processes[0];
        var plan = scene.Derive(() => TreePlan.Of(processes));
        if (process.Sid == process.Pid && scene.Stdio == StdioPolicy.Inherit && OutsideTerminal.IsOf(process, scene))
            yield return new ObjectVerdict(Name, NameOfSession(process), OfTerminal(process, scene));
        if (process == root)
        {
            if (plan.IsInOuterSession(process))
                yield return new ObjectVerdict(Name, NameOfSession(process), Outside);
            yield break;
        }

        if (processes.All(p => p.Pid != process.Ppid))
            yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused($"its parent {process.Ppid} is not in the checkpoint"));
        if (plan.WithoutSession.TryGetValue(process.Pid, out var why))
            yield return new ObjectVerdict(Name, NameOfSession(process), Verdict.Refused(why));
        else if (process.Sid != root.Sid && plan.IsInOuterSession(process))
            yield return new ObjectVerdict(Name, NameOfSession(process), Outside);
        if (plan.WithoutGroup.TryGetValue(process.Pid, out why))
            yield return new ObjectVerdict(Name, NameOfGroup(process), Verdict.Refused(why));
        else if (process.Pgid != root.Pgid && plan.IsInOuterGroup(process))
            yield return new ObjectVerdict(Name, NameOfGroup(process), Outside);
    }

    private static Verdict Outside => Verdict.Policy("--detach", "it is led from outside; crstore's own takes its place, or a new one");

    // A terminal has one session, and crstore's has that of the shell that it was run from. Who restarts without a terminal (--stdio) misses none.
    private static Verdict OfTerminal(Process leader, RestartScene scene) => scene.HasTerminal && leader == OutsideTerminal.Leader(scene)
        ? Verdict.Policy(OutsideStdio.Flag, "its controlling terminal is outside; a pseudo-terminal that crstore restart copies to and from its own takes its place, or none, with --detach or without a terminal")
        : Verdict.But("it has no controlling terminal then: Ctrl-Z does not stop it, and /dev/tty can't be opened");

    private static string NameOfSession(Process process) => $"session {process.Sid} of process {process.Pid}";

    private static string NameOfGroup(Process process) => $"group {process.Pgid} of process {process.Pid}";
}
