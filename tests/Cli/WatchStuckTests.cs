using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>A watch outlives captures that fail: what they leave behind is not let go by its end.</summary>
public sealed class WatchStuckTests
{
    [Fact]
    public void A_target_that_could_not_be_stopped_in_time_goes_on_although_the_watch_does()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("vforker");
        target.Expect("ready");
        target.Send("vfork"); // until it is told to go on it can neither be stopped nor let go
        target.Expect("vforking");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--every", "1h");
        var failed = watch.Next();
        Assert.Contains("state D", failed.ToString());
        target.Send("go on");
        target.Expect("done");
        Assert.Equal(0, watch.Stop().ExitCode);
    }
}
