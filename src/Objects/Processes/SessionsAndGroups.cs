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
        "the tree, its sessions, groups and zombies, with their ids",
        "a session or group that leads outside: crstore's own, with --detach a new one; a leader's terminal outside: a pseudo-terminal that is copied to and from crstore's own; without one, or with --detach, none, with a warning",
        "sessions whose leader has exited while others of the tree are in them");

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
        if (process.Sid == process.Pid && scene.Stdio == StdioPolicy.Inherit && OutsideTerminal.IsOf(process, scene))
            yield return new ObjectVerdict(Name, NameOfSession(process), OfTerminal(process, scene));
        if (process == root)
        {
            if (process.Sid != process.Pid)
                yield return new ObjectVerdict(Name, NameOfSession(process), Verdict.Policy("--detach", "it is led from outside; crstore's own takes its place, or a new one"));
            yield break;
        }

        // A session can only be inherited: from the parent, from before or after it called setsid.
        var parent = processes.FirstOrDefault(p => p.Pid == process.Ppid);
        if (parent is null)
            yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused($"its parent {process.Ppid} is not in the checkpoint"));
        else if (process.Sid != process.Pid && process.Sid != parent.Sid && (parent.Sid != parent.Pid || !IsOlder(parent, process.Sid, processes)))
            yield return new ObjectVerdict(Name, NameOfSession(process), Verdict.Refused(processes.Any(p => p.Pid == process.Sid) ? "it was born in it to a process that is gone, and no parent is in it now" : "its leader has exited, and no parent is in it"));
        if (process.Pgid != root.Pgid && processes.All(p => p.Pid != process.Pgid))
            yield return new ObjectVerdict(Name, NameOfGroup(process), Verdict.Refused("its leader has exited"));
    }

    // A terminal has one session, and crstore's has that of the shell that it was run from. Who restarts without a terminal (--stdio) misses none.
    private static Verdict OfTerminal(Process leader, RestartScene scene) => scene.HasTerminal && leader == OutsideTerminal.Leader(scene)
        ? Verdict.Policy(OutsideStdio.Flag, "its controlling terminal is outside; a pseudo-terminal that crstore restart copies to and from its own takes its place, or none, with --detach or without a terminal")
        : Verdict.But("it has no controlling terminal then: Ctrl-Z does not stop it, and /dev/tty can't be opened");

    // The session that a leader was born in is that of its own parent; of a parent outside it is not known, but none of those that began below.
    private static bool IsOlder(Process leader, int session, IReadOnlyList<Process> processes) =>
        processes.FirstOrDefault(p => p.Pid == leader.Ppid) is { } parent ? parent.Sid == session : processes.All(p => p.Pid != session);

    private static string NameOfSession(Process process) => $"session {process.Sid} of process {process.Pid}";

    private static string NameOfGroup(Process process) => $"group {process.Pgid} of process {process.Pid}";
}
