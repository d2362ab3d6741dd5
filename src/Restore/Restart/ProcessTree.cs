using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Processes;

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
/// Makes the processes of a checkpoint by the steps of a <see cref="TreePlan"/>, each by its own parent or below it, in the sessions and groups that they
/// had. On the ptrace thread.
/// </summary>
internal sealed class ProcessTree
{
    private const int SigChld = 17;
    private readonly Puppet stub;
    private readonly bool isStub;
    private readonly List<int> made;
    private readonly Dictionary<int, Process> messages;
    private readonly Dictionary<int, Puppet> puppets = []; // by id inside, helpers as well
    private readonly HashSet<int> reserved = [];

    private ProcessTree(Puppet stub, bool isStub, IReadOnlyList<Process> processes, List<int> made)
    {
        (this.stub, this.isStub, this.made) = (stub, isStub, made);
        messages = processes.ToDictionary(p => p.Pid);
        foreach (var process in processes)
        {
            reserved.UnionWith([process.Pid, process.Pgid, process.Sid]);
            foreach (var thread in process.Threads) reserved.Add(thread.Tid);
        }
    }

    /// <summary>Root first, parents before children.</summary>
    public List<Restarted> Processes { get; } = [];

    /// <summary>Makes all of them.</summary>
    /// <param name="parent">The stub, and crstore becomes the root's parent; or the first process of a pid namespace, which is its parent.</param>
    /// <param name="isStub">Which of both it is.</param>
    /// <param name="processes">Root first.</param>
    /// <param name="plan">How.</param>
    /// <param name="leads">Queues what a process has to do as soon as it leads its session.</param>
    /// <param name="made">Gets each process at once, so that it can be ended if the rest fails; helpers leave it again.</param>
    public static ProcessTree Make(Puppet parent, bool isStub, IReadOnlyList<Process> processes, TreePlan plan, Action<Process, Puppet> leads, List<int> made)
    {
        var tree = new ProcessTree(parent, isStub, processes, made);
        foreach (var step in plan.Steps)
        {
            switch (step.Act)
            {
                case TreeAct.Fork:
                    tree.Add(step.Id, tree.Fork(step));
                    break;
                case TreeAct.ForkForAncestor:
                    tree.Add(step.Id, tree.ForkForAncestor(step));
                    break;
                case TreeAct.LeadSession:
                    tree.puppets[step.Id].Queue("setsid", SystemCalls.SetSid);
                    if (tree.messages.TryGetValue(step.Id, out var leader)) leads(leader, tree.puppets[step.Id]);
                    tree.puppets[step.Id].Flush();
                    break;
                case TreeAct.EnterGroup:
                    tree.puppets[step.Id].Queue($"setpgid {step.Target}", SystemCalls.SetPgid, 0, step.Target);
                    tree.puppets[step.Id].Flush();
                    break;
                case TreeAct.End:
                    tree.End(tree.puppets[step.Id], tree.Of(step.By));
                    break;
                default:
                    throw new InvalidOperationException($"{step.Act} is no step");
            }
        }

        if (tree.Processes.Count != processes.Count) throw new InvalidOperationException($"{processes.Count - tree.Processes.Count} processes were not made");
        return tree;
    }

    private Puppet Of(int id) => id == TreePlan.Stub ? stub : puppets[id];

    private void Add(int id, Puppet puppet)
    {
        puppets.Add(id, puppet);
        if (messages.TryGetValue(id, out var message)) Processes.Add(new Restarted(message, puppet, Processes.Count == 0));
    }

    private Puppet Fork(TreeStep step)
    {
        // A helper's end is told to nobody.
        var exitSignal = messages.TryGetValue(step.Id, out var message) ? message.ExitSignal : 0;
        // The root's exit signal is the stub's: with CLONE_PARENT none may be given.
        var isRootOfStub = isStub && step.By == TreePlan.Stub && message is not null;
        var puppet = isRootOfStub ? Puppets.Make(stub, step.Id, SystemCalls.CloneParent, 0) : Puppets.Make(Of(step.By), step.Id, 0, exitSignal);
        made.Add(puppet.Tid);
        return puppet;
    }

    // In the session of one process, and the child of another one above that: it is born to a go-between, which exits. Orphans are adopted by the nearest
    // subreaper above: none of the puppets is one yet, and crstore is.
    private Puppet ForkForAncestor(TreeStep step)
    {
        var by = puppets[step.By];
        var parent = Of(step.Target);
        var between = MakeGoBetween(by);
        var puppet = Puppets.Make(between, step.Id, 0, SigChld);
        made.Add(puppet.Tid);
        if (parent != stub) SetSubreaper(parent, true);
        End(between, by);
        if (parent != stub) SetSubreaper(parent, false);
        var expected = parent != stub || !isStub ? parent.Tid : Environment.ProcessId;
        var actual = TaskStat.Read(puppet.Tid)?.ParentPid;
        if (actual != expected) throw new EnvironmentException($"process {step.Id} was adopted by {actual} instead of {expected}");
        return puppet;
    }

    // With any id but those that are still to come.
    private Puppet MakeGoBetween(Puppet by)
    {
        List<Puppet> others = [];
        while (true)
        {
            var puppet = Puppets.MakeAny(by);
            made.Add(puppet.Tid);
            if (!reserved.Contains(puppet.Pid))
            {
                foreach (var other in others) End(other, by);
                return puppet;
            }

            others.Add(puppet);
        }
    }

    private static void SetSubreaper(Puppet puppet, bool adopts)
    {
        puppet.Queue("prctl(PR_SET_CHILD_SUBREAPER)", SystemCalls.Prctl, SystemCalls.PrSetChildSubreaper, adopts ? 1 : 0, 0, 0, 0);
        puppet.Flush();
    }

    private void End(Puppet helper, Puppet parent)
    {
        const int anyChild = 0x40000000; // __WALL, wait4(2): also those that send no signal
        helper.Exit(0);
        var reaped = parent.Call("wait4", SystemCalls.Wait4, helper.Pid, 0, anyChild, 0);
        if (reaped != helper.Pid) throw new EnvironmentException($"the helper {helper.Pid} can't be waited for: {Errno.Describe((int)-reaped)}");
        made.Remove(helper.Tid);
    }
}
