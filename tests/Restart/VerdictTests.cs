using Crstore.Linux.Proc;
using Crstore.Model.Format;
using Crstore.Objects;
using Crstore.Objects.Files;
using Crstore.Objects.Processes;
using Google.Protobuf;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Verdicts on what this machine can't make: over records that are made up.</summary>
public class VerdictTests
{
    [Theory, InlineData("rd wr mr mw me ss", "shadow stack"), InlineData("rd wr mr mw me ac pk=3", "protection key")]
    public void Memory_that_the_processor_guards_is_refused(string flags, string why)
    {
        var verdict = Assert.Single(Check(new Mappings(), new Process { Pid = 5, Vmas = { new Vma { Start = 0x1000, End = 0x2000, VmFlags = flags, Content = VmaContent.Saved } } }));
        Assert.Equal(Restartability.Refused, verdict.Outcome);
        Assert.Contains(why, verdict.Why);
    }

    [Theory, InlineData("", "", false), InlineData("unconfined", "unconfined", false), InlineData("", "unconfined", false),
        InlineData("/usr/bin/man (enforce)", "unconfined", true), InlineData("unconfined", "/usr/bin/man (enforce)", true), InlineData("system_u:system_r:httpd_t:s0", "", true)]
    public void A_label_other_than_that_of_crstore_is_refused(string theirs, string mine, bool refused)
    {
        var verdicts = Check(new SecurityLabels(), new Process { Pid = 5, SecurityLabel = theirs }, own: new Confinement(mine, ""));
        Assert.Equal(refused, verdicts.Any(v => v.Outcome == Restartability.Refused));
    }

    [Fact]
    public void Other_control_groups_are_a_warning_said_once()
    {
        var body = new CheckpointBody();
        foreach (var pid in new[] { 5, 6 }) body.Processes.Add(new Process { Pid = pid, ControlGroups = "0::/web\n1:cpu:/" });
        using var scene = new RestartScene(body) { Own = new Confinement("", "0::/me\n1:cpu:/") };
        var verdicts = body.Processes.SelectMany(p => new ControlGroups().Check(p, scene)).ToList();
        Assert.Contains("0::/web", Assert.Single(Verdicts.Differences(verdicts)));
        using var same = new RestartScene(body) { Own = new Confinement("", "0::/web\n1:cpu:/") };
        Assert.Empty(body.Processes.SelectMany(p => new ControlGroups().Check(p, same)));
    }

    [Fact]
    public void A_capture_records_the_control_groups()
    {
        using var run = RestartRun.Python("import sys\nprint('ready')\nfor line in sys.stdin: print('alive')");
        run.Expect("ready");
        var process = run.Manifest(run.Capture()).Body.Processes[0];
        Assert.NotEmpty(process.ControlGroups);
        Assert.Equal(Confinement.OfSelf().ControlGroups, process.ControlGroups);
    }

    [Theory]
    [InlineData(34816, StdioPolicy.Inherit, true, "WithPolicy")]
    [InlineData(34816, StdioPolicy.Inherit, false, "Restarts")]
    [InlineData(0, StdioPolicy.Inherit, true, null)]
    [InlineData(34816, StdioPolicy.Null, true, null)]
    public void The_leader_of_a_session_is_said_to_get_or_to_lose_a_terminal_that_is_outside(int terminal, StdioPolicy stdio, bool has, string? said)
    {
        var stat = $"5 (tmux pane) S 1 5 5 {terminal} 5 {string.Join(' ', Enumerable.Repeat("0", 44))}\n";
        var verdicts = Check(new SessionsAndGroups(), new Process { Pid = 5, Sid = 5, Pgid = 5, Stat = ByteString.CopyFromUtf8(stat) }, stdio: stdio, hasTerminal: has);
        Assert.Equal(said, verdicts.Find(v => v.Why.Contains("controlling terminal", StringComparison.Ordinal)) is { Why: not null } found ? $"{found.Outcome}" : null);
    }

    // Root 10 of session 10, or of 5, with a child 11: session and group of the child, whether their leaders are gone, and what becomes of them.
    [Theory, InlineData(10, 10, 10, false, ""), InlineData(10, 5, 5, true, ""), InlineData(10, 5, 5, false, "session 5:--detach group 5:--detach"),
        InlineData(5, 5, 5, false, ""), InlineData(5, 5, 7, true, ""), InlineData(5, 5, 7, false, "group 7:--detach"), InlineData(5, 6, 6, true, ""), InlineData(5, 0, 0, false, "session 0:")]
    public void Sessions_and_groups_that_lead_outside_are_told_from_those_without_a_leader(int rootSession, int session, int group, bool gone, string expected)
    {
        using var scene = new RestartScene(new CheckpointBody
        {
            Processes =
            {
                new Process { Pid = 10, Ppid = 1, Sid = rootSession, Pgid = rootSession },
                new Process { Pid = 11, Ppid = 10, Sid = session, Pgid = group, SessionLeaderGone = gone && session != rootSession, GroupLeaderGone = gone, ExitSignal = 17 },
            },
        }) { Stdio = StdioPolicy.Null };
        var verdicts = new SessionsAndGroups().Check(scene.Body.Processes[1], scene);
        Assert.Equal(expected, string.Join(' ', verdicts.Select(v => $"{v.Object.Replace(" of process 11", "", StringComparison.Ordinal)}:{v.Verdict.Flag}")));
    }

    [Theory, InlineData(17, false), InlineData(10, true)]
    public void An_adopted_process_whose_parent_gets_another_signal_is_refused(int exitSignal, bool refused)
    {
        using var scene = new RestartScene(new CheckpointBody
        {
            Processes = { new Process { Pid = 10, Sid = 10, Pgid = 10 }, new Process { Pid = 11, Ppid = 10, Sid = 5, Pgid = 5, SessionLeaderGone = true, GroupLeaderGone = true, ExitSignal = exitSignal } },
        });
        Assert.Equal(refused, new SessionsAndGroups().Check(scene.Body.Processes[1], scene).Any(v => v.Verdict.Outcome == Restartability.Refused));
    }

    // Who leads a group, is in another one now, and in which order that is undone.
    [Theory, InlineData("11:12 12:13 13:13 14:11"), InlineData("13:13 12:13 11:12 14:11"), InlineData("11:12 12:11 13:12 14:11")]
    public void Groups_are_entered_while_they_are_there(string groups)
    {
        var processes = new List<Process> { new() { Pid = 10, Sid = 10, Pgid = 10 } };
        foreach (var pair in groups.Split(' ').Select(w => w.Split(':').Select(int.Parse).ToArray()))
            processes.Add(new Process { Pid = pair[0], Ppid = 10, Sid = 10, Pgid = pair[1], ExitSignal = 17 });
        var members = processes.ToDictionary(p => p.Pid, _ => 10);
        foreach (var step in TreePlan.Of(processes).Steps.Where(s => s.Act == TreeAct.EnterGroup))
        {
            Assert.True(step.Target == step.Id || members.ContainsValue(step.Target), $"{step.Id} enters group {step.Target}, in which nobody is");
            members[step.Id] = step.Target;
        }

        Assert.All(processes, p => Assert.Equal(p.Pgid, members[p.Pid]));
    }

    private static List<Verdict> Check(IProcessPart part, Process process, Confinement own = default, StdioPolicy stdio = StdioPolicy.Inherit, bool hasTerminal = true)
    {
        using var scene = new RestartScene(new CheckpointBody { Processes = { process } }) { Own = own, Stdio = stdio, HasTerminal = hasTerminal };
        return [.. part.Check(process, scene).Select(v => v.Verdict)];
    }
}
