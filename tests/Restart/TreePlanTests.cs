using Crstore.Model.Format;
using Crstore.Objects.Processes;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>
/// Plans for the trees that random histories of fork, setsid, setpgid, exit and adoption leave behind, carried out by the rules of the kernel:
/// either refused, or every process is where it was.
/// </summary>
public class TreePlanTests(ITestOutputHelper output)
{
    private const int Crstore = -1, Trees = 4000;

    [Fact]
    public void Whatever_a_history_leaves_is_made_again_or_refused()
    {
        var seed = Environment.GetEnvironmentVariable("CRSTORE_SEED") is { } given ? int.Parse(given, null) : Random.Shared.Next();
        output.WriteLine($"CRSTORE_SEED={seed}");
        var (refused, withHelpers) = (0, 0);
        for (var i = 0; i < Trees; i++)
        {
            var random = new Random(unchecked(seed + i));
            var processes = Captured(History(random));
            var taken = random.Next(4) == 0 ? new HashSet<int> { processes[0].Sid, processes[0].Pgid } : [];
            taken.ExceptWith(processes.Select(p => p.Pid));
            var plan = TreePlan.Of(processes, ownSession: random.Next(2) == 0, taken);
            if (plan.WithoutSession.Count + plan.WithoutGroup.Count > 0)
            {
                refused++;
                continue;
            }

            if (plan.Steps.Any(s => s.Act == TreeAct.End)) withHelpers++;
            try
            {
                CarryOut(plan, processes, taken);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"CRSTORE_SEED={unchecked(seed + i)} (its first tree)\n{string.Join('\n', processes.Select(p => $"{p.Pid} child of {p.Ppid}, session {p.Sid}{(p.SessionLeaderGone ? " gone" : "")}, group {p.Pgid}{(p.GroupLeaderGone ? " gone" : "")}{(p.Zombie ? ", zombie" : "")}"))}\ntaken {string.Join(' ', taken)}\n{string.Join('\n', plan.Steps)}", e);
            }
        }

        output.WriteLine($"{refused} of {Trees} refused, {withHelpers} with helpers");
        Assert.InRange(withHelpers, Trees / 20, Trees);
        Assert.InRange(refused, 0, Trees / 20);
    }

    /// <summary>Found by the random histories, seed 1002553946: each can only leave its group while another one is in it.</summary>
    [Fact]
    public void Two_leaders_that_are_in_each_others_groups_enter_them_in_the_order_that_keeps_both()
    {
        List<Process> processes = [Member(10, 5), Member(11, 12), Member(12, 11), Member(13, 12)];
        var plan = TreePlan.Of(processes, ownSession: false, new HashSet<int>());
        Assert.Empty(plan.WithoutGroup);
        CarryOut(plan, processes, []);
    }

    [Fact]
    public void Two_leaders_that_are_alone_in_each_others_groups_are_refused()
    {
        var plan = TreePlan.Of([Member(10, 5), Member(11, 12), Member(12, 11)], ownSession: false, new HashSet<int>());
        Assert.Single(plan.WithoutGroup);
    }

    private static Process Member(int pid, int group) => new() { Pid = pid, Ppid = pid == 10 ? 1 : 10, Sid = 5, Pgid = group, SessionLeaderGone = false, ExitSignal = 17 };

    private sealed class Life(int pid, int parent, int session, int group)
    {
        public int Pid => pid;
        public int Parent { get; set; } = parent;
        public int Session { get; set; } = session;
        public int Group { get; set; } = group;
        public bool Adopts { get; init; }
        public bool Zombie { get; set; }
    }

    // Process 10 is the root, in a session led from outside, whose leader may have exited.
    private static Dictionary<int, Life> History(Random random)
    {
        var all = new Dictionary<int, Life> { [5] = new(5, 1, 5, 5), [10] = new(10, 5, 5, random.Next(2) == 0 ? 5 : 6) { Adopts = random.Next(3) > 0 } };
        if (all[10].Group == 6) all[6] = new Life(6, 5, 5, 6);
        var next = 11;
        for (var events = random.Next(5, 60); events > 0; events--)
        {
            var living = all.Values.Where(l => l.Pid >= 10 && !l.Zombie).ToList();
            var who = living[random.Next(living.Count)];
            switch (random.Next(10))
            {
                case < 5:
                    all.Add(next, new Life(next, who.Pid, who.Session, who.Group) { Adopts = random.Next(6) == 0 });
                    next++;
                    break;
                case 5:
                    if (!all.Values.Any(l => l.Group == who.Pid)) (who.Session, who.Group) = (who.Pid, who.Pid);
                    break;
                case 6:
                    var groups = all.Values.Where(l => l.Session == who.Session).Select(l => l.Group).Append(who.Pid).Distinct().ToList();
                    if (who.Session != who.Pid) who.Group = groups[random.Next(groups.Count)];
                    break;
                default:
                    if (who.Pid != 10) Exit(all, who, random.Next(4) == 0);
                    break;
            }
        }

        foreach (var outside in new[] { 5, 6 })
            if (random.Next(2) == 0) all.Remove(outside);
        return all;
    }

    private static void Exit(Dictionary<int, Life> all, Life who, bool waitedForLate)
    {
        var heir = all.GetValueOrDefault(who.Parent);
        while (heir is { Adopts: false, Pid: >= 10 }) heir = all.GetValueOrDefault(heir.Parent);
        foreach (var child in all.Values.Where(l => l.Parent == who.Pid).ToList())
        {
            child.Parent = heir is { Pid: >= 10 } ? heir.Pid : 1;
            if (child.Zombie && random(child)) all.Remove(child.Pid);
        }

        if (waitedForLate) who.Zombie = true;
        else all.Remove(who.Pid);

        static bool random(Life zombie) => zombie.Pid % 2 == 0;
    }

    private static List<Process> Captured(Dictionary<int, Life> all)
    {
        var found = new List<Life> { all[10] };
        for (var i = 0; i < found.Count; i++) found.AddRange(all.Values.Where(l => l.Parent == found[i].Pid));
        return [.. found.OrderBy(l => l.Zombie).Select(l => new Process
        {
            Pid = l.Pid, Ppid = l.Parent, Sid = l.Session, Pgid = l.Group, Zombie = l.Zombie, ExitSignal = 17,
            SessionLeaderGone = !all.ContainsKey(l.Session), GroupLeaderGone = !all.ContainsKey(l.Group),
        })];
    }

    private static void CarryOut(TreePlan plan, List<Process> processes, HashSet<int> taken)
    {
        var all = new Dictionary<int, Life> { [TreePlan.Stub] = new(TreePlan.Stub, Crstore, Crstore, Crstore) };
        foreach (var step in plan.Steps)
        {
            switch (step.Act)
            {
                case TreeAct.Fork or TreeAct.ForkForAncestor:
                    Assert.True(!taken.Contains(step.Id) && !all.ContainsKey(step.Id) && !all.Values.Any(l => l.Session == step.Id || l.Group == step.Id), $"{step}: the id is in use");
                    var by = all[step.By];
                    var parent = step.Act == TreeAct.Fork ? step.By : step.Target;
                    var above = step.By;
                    while (above != parent && above != TreePlan.Stub) above = all[above].Parent;
                    Assert.Equal(parent, above);
                    all.Add(step.Id, new Life(step.Id, parent, by.Session, by.Group));
                    break;
                case TreeAct.LeadSession:
                    Assert.DoesNotContain(all.Values, l => l.Group == step.Id);
                    (all[step.Id].Session, all[step.Id].Group) = (step.Id, step.Id);
                    break;
                case TreeAct.EnterGroup:
                    var who = all[step.Id];
                    Assert.NotEqual(who.Session, who.Pid);
                    Assert.True(step.Target == step.Id || all.Values.Any(l => l.Group == step.Target && l.Session == who.Session), $"{step}: nobody is in it");
                    who.Group = step.Target;
                    break;
                case TreeAct.End:
                    Assert.Equal(step.By, all[step.Id].Parent);
                    Assert.DoesNotContain(all.Values, l => l.Parent == step.Id);
                    all.Remove(step.Id);
                    break;
            }
        }

        Assert.Equal(processes.Count + 1, all.Count);
        foreach (var process in processes)
        {
            var made = all[process.Pid];
            Assert.Equal(process.Pid == 10 ? TreePlan.Stub : process.Ppid, made.Parent);
            if (!plan.IsInOuterSession(process)) Assert.Equal(process.Sid, made.Session);
            else Assert.Contains(made.Session, new[] { Crstore, 10 });
            if (process.Pid == 10 && made.Session == 10) Assert.Equal(10, made.Group); // a leader of a session can join no other
            else if (!plan.IsInOuterGroup(process)) Assert.Equal(process.Pgid, made.Group);
            // Who had led a group of the checkpoint and left it for one outside stays in the former: nobody else can begin it.
            else if (made.Group != process.Pid || !processes.Any(p => p.Pgid == process.Pid)) Assert.Contains(made.Group, new[] { Crstore, 10 });
        }
    }
}
