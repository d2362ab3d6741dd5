using System.Diagnostics;
using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Capture.State;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Tests.Capture.Freezing;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.State;

/// <summary>
/// Threads that are frozen again and again while they wait by epoll_wait (tests/Targets/waiter.c): a timeout that began anew each time would never end.
/// It ends, and none does too early, however threads are woken and wait again just when the freeze comes.
/// </summary>
public class SleepWatchTests
{
    private const int Waits = 2000, Longest = 300_000, PauseMs = 10; // milliseconds. How late it is depends on what else the machine does

    [Fact]
    public void A_wait_ends_however_often_it_is_interrupted_and_none_too_early()
    {
        using var target = TargetProcess.Start("waiter");
        target.Expect("ready");
        using var ptrace = new PtraceThread();
        using var directory = ProcDirectory.Open(target.Pid);
        var clocks = new ProcessorClocks();
        var watch = new SleepWatch(target.Pid, directory, [], clocks, rehearsal: false);
        string? said = null;
        for (var clock = Stopwatch.StartNew(); said is null && clock.ElapsedMilliseconds < Longest; said = target.TryReadLine(TimeSpan.FromMilliseconds(PauseMs)))
        {
            watch.Observe();
            ptrace.Run(() =>
            {
                clocks.Measure();
                using var tree = FrozenTree.Freeze(target.Pid, tree: false, Frozen.Patient);
                watch.ReadFrozen(tree.Processes[0], withStat: true);
            });
        }

        Assert.StartsWith("waited ", said);
        Assert.InRange(int.Parse(said!.Split(' ')[1], CultureInfo.InvariantCulture), Waits, Longest);
        Assert.Matches("^timeouts [1-9][0-9]* early 0 ", target.Ask("stop"));
    }
}
