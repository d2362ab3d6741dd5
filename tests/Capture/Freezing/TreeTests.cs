using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

public sealed class TreeTests
{
    [Fact]
    public void All_descendants_are_frozen_and_zombies_are_told_apart()
    {
        using var target = TargetProcess.Start("fork_storm", "2", "zombie");
        target.Expect("ready");
        for (var round = 0; round < 50; round++)
        {
            Frozen.During(target.Pid, frozen =>
            {
                var pids = frozen.Processes.Select(p => p.Pid).ToHashSet();
                Assert.Equal(target.Pid, frozen.Processes[0].Pid);
                Assert.NotEmpty(frozen.Zombies);
                // Nobody is missing: every descendant is in one of the two lists, and every thread stands still.
                foreach (var pid in pids)
                {
                    foreach (var child in TaskList.Children(pid)) Assert.True(pids.Contains(child) || frozen.Zombies.Contains(child), $"{child} is missing");
                    foreach (var tid in TaskList.Threads(pid)) Assert.Equal('t', TaskStat.Read(pid, tid)!.State);
                }
            }, tree: true);
        }
        Assert.StartsWith("forks ", target.Ask("count"));
        Assert.NotEqual("forks 0", target.Ask("count"));
    }

    [Fact]
    public void Without_tree_the_children_run_on()
    {
        using var target = TargetProcess.Start("fork_storm", "1");
        target.Expect("ready");
        Frozen.During(target.Pid, frozen =>
        {
            Assert.Single(frozen.Processes);
            foreach (var child in TaskList.Children(target.Pid)) Assert.NotEqual('t', Frozen.State(child));
        });
    }

    [Fact]
    public void A_tree_with_crstore_in_it_is_refused()
    {
        var parent = TaskStat.Read(Environment.ProcessId)!.ParentPid;
        Assert.SkipWhen(parent <= 1, "the test's parent is init");
        // Only this process may be in that tree, or the test would stop others for a moment.
        Assert.SkipWhen(TaskList.Children(parent).Count != 1, "the test's parent has other children");
        var error = Assert.Throws<TargetException>(() => Frozen.During(parent, _ => { }, tree: true));
        Assert.Contains("crstore itself", error.Message);
    }
}
