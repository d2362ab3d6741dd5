using System.Diagnostics;
using System.Globalization;
using Crstore.Capture;
using Crstore.Linux.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>
/// A program that is captured again and again while it waits: in calls that the kernel doesn't go on with by itself the timeout would begin anew each time,
/// and never end. By the clock of the program (tests/Targets/sleeper.c).
/// </summary>
public class RepeatedCaptureTests
{
    private static readonly int[] Waits = [6000, 48_000, 192_000]; // milliseconds. A longer one if the shorter was over too soon: how long a capture takes depends on what else the machine does
    private const int Longest = 10; // times as long
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    [Theory]
    [InlineData("epoll_wait", null)]
    [InlineData("epoll_pwait", PreCopyPolicy.Always)] // two freezes each
    public void It_waits_no_longer_for_that(string way, PreCopyPolicy? preCopy) => Check(way, run =>
    {
        StatePreview.Read(run.Pid, tree: false, LockWait.Default); // `check` stops it too
        run.Capture(with: o => preCopy is { } policy ? o with { PreCopy = policy } : o);
        return null;
    });

    [Fact]
    public void Nor_does_it_when_it_is_restarted_each_time() => Check("epoll_wait", run =>
    {
        run.Capture();
        if (run.TryReadLine(Interval) is { } early) return early;
        var crid = run.Capture();
        if (run.TryReadLine(TimeSpan.Zero) is { } late) return late;
        run.Kill();
        run.Restart(crid, new RestartOptions { Detach = true, Stdio = Objects.Files.StdioPolicy.Null, Clock = ClockPolicy.Continue });
        return null;
    });

    private static void Check(string way, Func<RestartRun, string?> disturb)
    {
        Requires.Root();
        Assert.True(Array.Exists(Waits, wait => IsDisturbed(way, wait, disturb)), "the machine is too busy: it was disturbed once at most");
    }

    // False if that was over before it had been disturbed twice.
    private static bool IsDisturbed(string way, int wait, Func<RestartRun, string?> disturb)
    {
        using var run = RestartRun.Start("sleeper", $"{wait}", way);
        run.Expect("ready");
        var times = 0;
        string? said = null;
        for (var clock = Stopwatch.StartNew(); said is null && clock.ElapsedMilliseconds < wait * Longest; said ??= run.TryReadLine(Interval))
        {
            said = disturb(run);
            if (said is null) times++;
        }

        Assert.StartsWith($"{way} ", said);
        Assert.DoesNotContain("error", said);
        Assert.InRange(int.Parse(said!.Split(' ')[^1], CultureInfo.InvariantCulture), wait, wait * Longest);
        return times > 1;
    }
}
