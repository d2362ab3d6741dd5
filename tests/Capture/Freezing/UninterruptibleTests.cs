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
        Wait(target);
        // It wakes up when the freeze has begun: when there is somebody who waits for it to stop.
        var waker = new Thread(() =>
        {
            Patience.Until(() => TaskStatusFile.Read(target.Pid)!.TracerPid != 0, "the freeze to begin", pauseMs: 1);
            target.Send("go on");
        });
        waker.Start();
        Frozen.During(target.Pid, frozen =>
        {
            Assert.Equal(target.Pid, frozen.Processes[0].Pid);
            Assert.Equal('t', Frozen.State(target.Pid));
        }, tree);
        waker.Join();
        target.Expect("done");
    }

    [Fact]
    public void If_it_takes_too_long_the_thread_is_named_and_nothing_is_left_behind()
    {
        using var target = TargetProcess.Start("vforker");
        target.Expect("ready");
        Wait(target);
        var error = Assert.Throws<TargetException>(() => Frozen.During(target.Pid, _ => { },
            options: new FreezeOptions { StopTimeout = TimeSpan.FromMilliseconds(100), Attempts = 1 }));
        Assert.Contains($"thread {target.Pid} of process {target.Pid}", error.Message);
        Assert.Contains("state D", error.Message);
        target.Send("go on");
        target.Expect("done");
        Assert.Equal(0, TaskStatusFile.Read(target.Pid)!.TracerPid);
        target.Send("vfork 1");
        target.Expect("done");
    }

    /// <summary>Sends it into an uninterruptible wait, until it is told to go on.</summary>
    private static void Wait(TargetProcess target)
    {
        target.Send("vfork");
        target.Expect("vforking");
        Frozen.WaitForState(target.Pid, "D");
    }
}
