using Crstore.Model.Format;

namespace Crstore.Objects.Processes;

/// <summary>
/// How the processes of a checkpoint are made with the parents, sessions and groups that they had. A session is only inherited at birth, and a group is
/// joined only while somebody is in it; so where the leader has exited, or whoever a process was born to, a helper takes its place for the time being.
/// </summary>
public sealed class TreePlan
{
    /// <summary>In the place of an id: the process that crstore begins with, which makes the root.</summary>
    public const int Stub = 0;

    private const int SigChld = 17;
    private readonly Process root;
    private readonly Dictionary<int, Process> byId = [];
    private readonly Dictionary<int, List<Process>> children = [];
    private readonly Dictionary<int, int?> births = [];
    private readonly int? outer;     // the session that the root was born in; null: nobody else is in it
    private readonly bool ownSession;
    private readonly IReadOnlySet<int> taken;
    private readonly Dictionary<int, int> sessions = []; // of those that are made so far, as it is then
    private readonly Dictionary<int, int> parents = [];
    private readonly List<Process> waiting = [];         // born in a session that their parent is not in
    private readonly List<TreeStep> helpers = [];        // how they end
    private readonly List<TreeStep> steps = [];
    private readonly Dictionary<int, string> withoutSession = [], withoutGroup = [];

    private TreePlan(IReadOnlyList<Process> processes, bool ownSession, IReadOnlySet<int> taken)
    {
        this.taken = taken;
        root = processes[0];
        foreach (var process in processes) byId.TryAdd(process.Pid, process);
        for (var i = 1; i < processes.Count; i++)
        {
            if (!children.TryGetValue(processes[i].Ppid, out var siblings)) children.Add(processes[i].Ppid, siblings = []);
            siblings.Add(processes[i]);
        }

        outer = root.Sid != root.Pid ? root.Sid : processes.FirstOrDefault(p => !byId.ContainsKey(p.Sid) && !p.SessionLeaderGone)?.Sid;
        OuterIsMade = root.Sid != root.Pid && root.SessionLeaderGone && root.Sid != 0 && !byId.ContainsKey(root.Sid) && !taken.Contains(root.Sid);
        this.ownSession = ownSession && root.Sid != root.Pid && !OuterIsMade;
    }

    /// <summary>The steps, in order.</summary>
    public IReadOnlyList<TreeStep> Steps => steps;

    /// <summary>Of processes that can't be in the session that they were in: why.</summary>
    public IReadOnlyDictionary<int, string> WithoutSession => withoutSession;

    /// <summary>Of processes that can't be in the group that they were in: why.</summary>
    public IReadOnlyDictionary<int, string> WithoutGroup => withoutGroup;

    /// <summary>The leader of the root's session had exited, and a helper begins that session anew. Otherwise the root is in crstore's, or in one of its own.</summary>
    public bool OuterIsMade { get; }

    /// <summary>Makes a plan.</summary>
    /// <param name="processes">Root first.</param>
    /// <param name="ownSession">A root whose session leads outside gets one of its own.</param>
    /// <param name="taken">Ids that somebody outside has: sessions and groups of these, in which the root was, are not made anew.</param>
    public static TreePlan Of(IReadOnlyList<Process> processes, bool ownSession = false, IReadOnlySet<int>? taken = null)
    {
        ArgumentNullException.ThrowIfNull(processes);
        var plan = new TreePlan(processes, ownSession, taken ?? new HashSet<int>());
        plan.MakeRoot();
        plan.MakeThoseThatWait();
        plan.EnterGroups();
        foreach (var end in Enumerable.Reverse(plan.helpers)) plan.steps.Add(end);
        return plan;
    }

    /// <summary>The process is in a session that leads outside, and will be in crstore's, or in that of a root with a session of its own.</summary>
    public bool IsInOuterSession(Process process)
    {
        ArgumentNullException.ThrowIfNull(process);
        return process.Sid == outer && !OuterIsMade;
    }

    /// <summary>The process is in a group that leads outside, and will be in that of who makes it: crstore's, or that of a root with a session of its own.</summary>
    public bool IsInOuterGroup(Process process)
    {
        if (!IsInOuterSession(process) || byId.ContainsKey(process.Pgid)) return false;
        return !process.GroupLeaderGone || process.Pgid == 0 || process.Pgid == process.Sid || taken.Contains(process.Pgid) || (ownSession && process.Pgid == root.Pgid);
    }

    /// <summary>There will be a group of that id, with processes of the checkpoint in it.</summary>
    public bool HasGroup(int group) => byId.Values.Any(p => p.Pgid == group && !IsInOuterGroup(p));

    private void MakeRoot()
    {
        if (OuterIsMade)
        {
            BeginSession(root.Sid, Stub);
            steps.Add(new TreeStep(TreeAct.ForkForAncestor, root.Pid, root.Sid, Stub));
        }
        else
        {
            steps.Add(new TreeStep(TreeAct.Fork, root.Pid));
            if (ownSession) steps.Add(new TreeStep(TreeAct.LeadSession, root.Pid));
        }

        sessions[root.Pid] = outer ?? Stub;
        parents[root.Pid] = Stub;
        Settle(root);
    }

    private List<Process> ChildrenOf(Process process) => children.GetValueOrDefault(process.Pid) ?? [];

    // The session that a process must be born in; null: any, since it leads one of its own.
    private int? BirthOf(Process process)
    {
        if (process.Sid != process.Pid) return process.Sid;
        if (births.TryGetValue(process.Pid, out var known)) return known;
        births[process.Pid] = null;
        foreach (var child in ChildrenOf(process))
        {
            // Who was born before its parent called setsid is in the older session. It is inherited from above, unless it was begun, and left again, below.
            if (BirthOf(child) is not { } older || older == process.Pid) continue;
            if (older == outer || (byId.ContainsKey(older) && !IsBelow(older, process.Pid))) return births[process.Pid] = older;
        }

        return null;
    }

    private bool IsBelow(int pid, int ancestor)
    {
        var at = pid;
        for (var steps = 0; steps < byId.Count && byId.TryGetValue(at, out var process) && process != root; steps++)
            if ((at = process.Ppid) == ancestor) return true;
        return false;
    }

    // What a process that has just been made does, and its children.
    private void Settle(Process process)
    {
        List<Process> mine = [.. ChildrenOf(process)];
        if (process.Sid == process.Pid)
        {
            foreach (var child in mine.Where(c => BirthOf(c) is { } birth && birth != process.Pid && birth == sessions[process.Pid]).ToList())
            {
                Fork(child);
                mine.Remove(child);
            }

            steps.Add(new TreeStep(TreeAct.LeadSession, process.Pid));
            sessions[process.Pid] = process.Pid;
        }

        foreach (var child in mine)
        {
            if (BirthOf(child) is { } birth && birth != sessions[process.Pid]) waiting.Add(child);
            else Fork(child);
        }

        void Fork(Process child)
        {
            steps.Add(new TreeStep(TreeAct.Fork, child.Pid, process.Pid));
            sessions[child.Pid] = sessions[process.Pid];
            parents[child.Pid] = process.Pid;
            Settle(child);
        }
    }

    // A process whose parent is not in its session was born to somebody in it who has exited, below that parent: it was adopted.
    private void MakeThoseThatWait()
    {
        while (waiting.Count > 0)
        {
            var child = waiting.Find(c => MemberBelow(c) != Stub);
            if (child is null)
            {
                // Those above may have members of that session below them then.
                child = waiting.Where(c => CanBegin(BirthOf(c)!.Value)).MaxBy(c => DepthOf(c.Ppid));
                if (child is null) break;
                BeginSession(BirthOf(child)!.Value, child.Ppid);
            }

            waiting.Remove(child);
            if (child.ExitSignal != SigChld) withoutSession[child.Pid] = $"it was adopted, and yet its parent gets signal {child.ExitSignal} when it ends";
            var by = MemberBelow(child);
            steps.Add(new TreeStep(TreeAct.ForkForAncestor, child.Pid, by, child.Ppid));
            sessions[child.Pid] = sessions[by];
            parents[child.Pid] = child.Ppid;
            Settle(child);
        }

        foreach (var child in waiting) withoutSession[child.Pid] = "there is nobody below its parent whom it could have been born to in that session";
    }

    private bool CanBegin(int session) => session != 0 && session != outer && !byId.ContainsKey(session) && !sessions.ContainsKey(session);

    // Somebody in its session who is, so far, below the parent that it shall have.
    private int MemberBelow(Process child)
    {
        var session = BirthOf(child);
        foreach (var (id, its) in sessions)
        {
            if (its != session) continue;
            for (var at = parents[id]; at != Stub; at = parents[at])
                if (at == child.Ppid) return id;
        }

        return Stub;
    }

    private int DepthOf(int id)
    {
        var depth = 0;
        for (var at = id; at != Stub; at = parents[at]) depth++;
        return depth;
    }

    private void BeginSession(int session, int by)
    {
        AddHelper(session, by);
        steps.Add(new TreeStep(TreeAct.LeadSession, session));
        sessions[session] = session;
    }

    private void AddHelper(int id, int by)
    {
        steps.Add(new TreeStep(TreeAct.Fork, id, by));
        helpers.Add(new TreeStep(TreeAct.End, id, by));
        parents[id] = by;
    }

    private void EnterGroups()
    {
        // A leader of a session leads its first group, and stays there.
        var members = byId.Values.Where(p => sessions.ContainsKey(p.Pid) && p.Sid != p.Pid && !(ownSession && p == root) && !IsInOuterGroup(p)).ToList();
        var begun = new HashSet<int>();
        foreach (var process in members.Where(p => p.Pgid != p.Sid && begun.Add(p.Pgid)))
        {
            if (process.Pgid == 0) withoutGroup[process.Pid] = "its group is outside of its pid namespace";
            else if (!byId.TryGetValue(process.Pgid, out var leader)) AddHelper(process.Pgid, process.Pid);
            else if (leader.Sid != process.Sid) withoutGroup[process.Pid] = "its group is one of another session";
            // A root with a session of its own leads that group by now, and may enter none: setpgid(2), EPERM.
            if (!ownSession || process.Pgid != root.Pid) steps.Add(new TreeStep(TreeAct.EnterGroup, process.Pgid, Target: process.Pgid));
        }

        foreach (var process in members.Where(p => p.Pgid != p.Pid && !begun.Contains(p.Pid))) Enter(process);
        // Who has left a group that it had led: not before somebody is in it who stays there.
        var movers = members.FindAll(p => p.Pgid != p.Pid && begun.Contains(p.Pid));
        var settled = members.Except(movers).Select(p => p.Pgid).ToHashSet();
        while (movers.Count > 0)
        {
            var next = movers.Find(m => settled.Contains(m.Pid) || !movers.Exists(other => other.Pgid == m.Pid));
            if (next is null)
            {
                next = movers[0];
                // In a circle: somebody else would have to stand in.
                withoutGroup[next.Pid] = "it and others, each the leader of a group, are in each other's groups, and nobody else is";
            }
            else
            {
                Enter(next);
                settled.Add(next.Pgid);
            }

            movers.Remove(next);
        }

        void Enter(Process process) => steps.Add(new TreeStep(TreeAct.EnterGroup, process.Pid, Target: process.Pgid));
    }
}
