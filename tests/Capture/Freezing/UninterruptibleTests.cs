using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

/// <summary>A thread that waits for its vfork child can't be stopped by anybody.</summary>
public sealed class UninterruptibleTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void It_is_frozen_as_soon_as_it_wakes_up(bool tree)
    {
        using var target = TargetProcess.Start("vforker");
        target.Expect("ready");
        target.Send("vfork 300");
        target.Expect("vforking");
        Assert.Equal('D', Frozen.WaitForState(target.Pid, "D"));
        Frozen.During(target.Pid, frozen =>
        {
            Assert.Equal(target.Pid, frozen.Processes[0].Pid);
            Assert.Equal('t', Frozen.State(target.Pid));
        }, tree, new FreezeOptions { StopTimeout = TimeSpan.FromSeconds(30), MaxFrozen = TimeSpan.FromSeconds(60) });
        target.Expect("done");
    }

    [Fact]
    public void If_it_takes_too_long_the_thread_is_named_and_nothing_is_left_behind()
    {
        using var target = TargetProcess.Start("vforker");
        target.Expect("ready");
        target.Send("vfork 6000");
        target.Expect("vforking");
        Assert.Equal('D', Frozen.WaitForState(target.Pid, "D"));
        var error = Assert.Throws<TargetException>(() => Frozen.During(target.Pid, _ => { },
            options: new FreezeOptions { StopTimeout = TimeSpan.FromMilliseconds(100), Attempts = 1 }));
        Assert.Contains($"thread {target.Pid} of process {target.Pid}", error.Message);
        Assert.Contains("state D", error.Message);
        target.Expect("done");
        Assert.Equal(0, TaskStatusFile.Read(target.Pid)!.TracerPid);
        target.Send("vfork 1");
        target.Expect("done");
    }
}
