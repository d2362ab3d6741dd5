using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

/// <summary>The target may die at any moment: never a hang, never an unreaped leftover, always the same clear error.</summary>
public sealed class DeathTests
{
    [Fact]
    public void Killed_while_frozen_it_is_gone_after_the_thaw()
    {
        using var target = TargetProcess.Start("thread_storm", "3", "0");
        target.Expect("ready");
        Frozen.During(target.Pid, _ => Assert.Equal(0, Signals.TryKill(target.Pid, Signals.SIGKILL)));
        Assert.Equal(128 + Signals.SIGKILL, target.WaitForExit());
        Assert.False(Directory.Exists($"/proc/{target.Pid}"));
    }

    [Fact]
    public void Killed_at_random_moments_of_freezing_it_gives_a_clear_error_or_none()
    {
        var random = Seeds.Random();
        for (var round = 0; round < 15; round++)
        {
            using var target = TargetProcess.Start("thread_storm", "2", "2");
            target.Expect("ready");
            var delay = random.Next(200_000);
            var killer = new Thread(() =>
            {
                Thread.SpinWait(delay);
                Signals.TryKill(target.Pid, Signals.SIGKILL);
            });
            killer.Start();
            try
            {
                while (true) Frozen.During(target.Pid, frozen => Assert.Single(frozen.Processes));
            }
            catch (TargetException e)
            {
                Assert.Matches("ended during the capture|no process|has exited", e.Message);
            }
            killer.Join();
            Assert.Equal(128 + Signals.SIGKILL, target.WaitForExit());
        }
    }

    [Fact]
    public void A_leader_that_has_exited_while_other_threads_go_on_is_no_obstacle()
    {
        using var target = TargetProcess.Start("leaderless");
        target.Expect("ready");
        Assert.Equal('Z', Frozen.WaitForState(target.Pid, "Z"));
        for (var round = 0; round < 3; round++)
        {
            Frozen.During(target.Pid, frozen =>
            {
                var thread = Assert.Single(frozen.Processes[0].Threads);
                Assert.NotEqual(target.Pid, thread.Tid);
                Assert.Equal('t', TaskStat.Read(target.Pid, thread.Tid)!.State);
            });
        }
        Assert.Equal("alive", target.Ask("hello"));
    }
}
