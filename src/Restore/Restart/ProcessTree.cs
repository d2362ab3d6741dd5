using Crstore.Model.Format;

namespace Crstore.Restore.Restart;

/// <summary>A process that is being put together.</summary>
/// <param name="message">As it was captured.</param>
/// <param name="leader">Its first thread.</param>
/// <param name="isRoot">All others descend from it.</param>
internal sealed class Restarted(Process message, Puppet leader, bool isRoot)
{
    /// <summary>All others descend from it.</summary>
    public bool IsRoot => isRoot;

    /// <summary>As it was captured.</summary>
    public Process Message => message;

    /// <summary>Its first thread.</summary>
    public Puppet Leader => leader;

    /// <summary>All its threads, the leader first, as in the message.</summary>
    public List<Puppet> Threads { get; } = [leader];
}

/// <summary>
/// Makes the processes of a checkpoint, each by its own parent, in the sessions and groups that they had. A session or group
/// whose leader is not in the checkpoint becomes the one that crstore is in, or a new one. On the ptrace thread.
/// </summary>
internal sealed class ProcessTree
{
    private readonly Dictionary<int, Restarted> byPid = [];
    private readonly ILookup<int, Process> children;
    private readonly HashSet<int> pids;

    private readonly Action<Process, Puppet> leads;

    private ProcessTree(IReadOnlyList<Process> processes, Action<Process, Puppet> leads)
    {
        this.leads = leads;
        children = processes.Skip(1).ToLookup(p => p.Ppid);
        pids = [.. processes.Select(p => p.Pid)];
    }

    /// <summary>Root first, parents before children.</summary>
    public List<Restarted> Processes { get; } = [];

    /// <summary>Makes all of them.</summary>
    /// <param name="parent">The stub, and crstore becomes the root's parent; or the first process of a pid namespace, which is its parent.</param>
    /// <param name="isStub">Which of both it is.</param>
    /// <param name="processes">Root first.</param>
    /// <param name="newSession">The root leads a session of its own, whatever it was in.</param>
    /// <param name="leads">Queues what a process has to do as soon as it leads its session.</param>
    /// <param name="made">Told of each process at once, so that it can be ended if the rest fails.</param>
    public static ProcessTree Make(Puppet parent, bool isStub, IReadOnlyList<Process> processes, bool newSession, Action<Process, Puppet> leads, Action<int> made)
    {
        var tree = new ProcessTree(processes, leads);
        var root = processes[0];
        // The exit signal is the stub's: with CLONE_PARENT none may be given.
        var puppet = isStub ? Puppets.Make(parent, root.Pid, SystemCalls.CloneParent, 0) : Puppets.Make(parent, root.Pid, 0, root.ExitSignal);
        made(puppet.Tid);
        tree.Settle(root, puppet, newSession, made);
        tree.JoinGroups(newSession);
        return tree;
    }

    private void Settle(Process process, Puppet puppet, bool newSession, Action<int> made)
    {
        var restarted = new Restarted(process, puppet, Processes.Count == 0);
        byPid.Add(process.Pid, restarted);
        Processes.Add(restarted);
        var mine = children[process.Pid].ToList();
        // A session is inherited at birth: who was born before the parent called setsid is in the older one.
        if (process.Sid == process.Pid)
            foreach (var child in mine.Where(c => c.Sid != process.Sid && c.Sid != c.Pid).ToList())
            {
                Make(child);
                mine.Remove(child);
            }

        if (newSession || process.Sid == process.Pid)
        {
            puppet.Queue("setsid", SystemCalls.SetSid);
            leads(process, puppet);
        }

        puppet.Flush();
        foreach (var child in mine) Make(child);

        void Make(Process child)
        {
            var born = Puppets.Make(puppet, child.Pid, 0, child.ExitSignal);
            made(born.Tid);
            Settle(child, born, false, made);
        }
    }

    private void JoinGroups(bool newSession)
    {
        foreach (var process in Processes.Where(p => p.Message.Pgid == p.Message.Pid && p.Message.Sid != p.Message.Pid && !(p.IsRoot && newSession)))
        {
            process.Leader.Queue("setpgid", SystemCalls.SetPgid, 0, 0);
            process.Leader.Flush();
        }

        // A root that got a session of its own leads its group, too.
        foreach (var process in Processes.Where(p => p.Message.Pgid != p.Message.Pid && !(p.IsRoot && newSession) && pids.Contains(p.Message.Pgid)))
        {
            process.Leader.Queue($"setpgid {process.Message.Pgid}", SystemCalls.SetPgid, 0, process.Message.Pgid);
            process.Leader.Flush();
        }
    }
}
