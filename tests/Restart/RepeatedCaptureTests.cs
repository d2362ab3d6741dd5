using System.Diagnostics;
using System.Globalization;
using Crstore.Capture;
using Crstore.Model;
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
    private const int Wait = 4000, Interval = 500, Patience = 60_000; // milliseconds. How late it is depends on what else the machine does

    [Theory]
    [InlineData("epoll_wait", null)]
    [InlineData("epoll_pwait", PreCopyPolicy.Always)] // two freezes each
    public void It_waits_no_longer_for_that(string way, PreCopyPolicy? preCopy)
    {
        Requires.Root();
        using var run = RestartRun.Start("sleeper", $"{Wait}", way);
        run.Expect("ready");
        var captures = 0;
        string? said = null;
        for (var clock = Stopwatch.StartNew(); said is null && clock.ElapsedMilliseconds < Patience; said = run.TryReadLine(TimeSpan.FromMilliseconds(Interval)))
        {
            run.Capture(with: o => preCopy is { } policy ? o with { PreCopy = policy } : o);
            captures++;
        }

        Check(way, said);
        Assert.True(captures > 1, "the machine is too busy: it was captured once only");
    }

    // A timeout that began anew with a capture would need another Wait from there on.
    [Fact]
    public void Nor_does_it_after_a_restart_from_one_of_these_checkpoints()
    {
        Requires.Root();
        const string way = "epoll_wait";
        using var run = RestartRun.Start("sleeper", $"{Wait}", way);
        run.Expect("ready");
        string? said = null;
        var restarts = 0;
        for (var clock = Stopwatch.StartNew(); said is null && clock.ElapsedMilliseconds < Patience; said = run.TryReadLine(TimeSpan.FromMilliseconds(Interval)))
        {
            run.Capture();
            if (run.TryReadLine(TimeSpan.FromMilliseconds(Interval)) is { } line)
            {
                said = line;
                break;
            }

            var crid = run.Capture();
            if (run.TryReadLine(TimeSpan.FromMilliseconds(1)) is { } late)
            {
                said = late;
                break;
            }

            run.Kill();
            run.Restart(crid, new RestartOptions { Detach = true, Stdio = Objects.Files.StdioPolicy.Null, Clock = ClockPolicy.Continue });
            restarts++;
        }

        Check(way, said);
        Assert.True(restarts > 0, "the machine is too busy: it was over before a restart");
    }

    private static void Check(string way, string? said)
    {
        Assert.StartsWith($"{way} ", said);
        Assert.DoesNotContain("error", said);
        Assert.InRange(int.Parse(said!.Split(' ')[^1], CultureInfo.InvariantCulture), Wait, Patience);
    }
}
