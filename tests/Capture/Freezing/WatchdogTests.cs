using System.Diagnostics;
using Crstore.Capture.Freezing;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

public sealed class WatchdogTests
{
    [Fact]
    public void Past_the_limit_the_slow_phase_is_named_and_the_target_runs_again()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        // Where there is much else to do, to stop it may take longer than the copy until the limit: then again, with more time.
        var limit = TimeSpan.FromMilliseconds(300);
        FrozenTooLongException error;
        do error = ExceedWhileCopying(target.Pid, limit);
        while (!error.Message.Contains("slowest phase: copy", StringComparison.Ordinal) && (limit *= 4) < Patience.Limit);
        Assert.Equal(ExitCode.FrozenTooLong, error.ExitCode);
        Assert.Contains("slowest phase: copy (freeze ", error.Message);
        Assert.Contains("read registers ", error.Message);
        Assert.Equal("ok", target.Ask("verify"));
    }

    private static FrozenTooLongException ExceedWhileCopying(int pid, TimeSpan limit)
    {
        using var watchdog = new FreezeWatchdog(limit, _ => { });
        return Assert.Throws<FrozenTooLongException>(() => Frozen.During(pid, frozen =>
        {
            frozen.Watchdog.Enter("read registers");
            frozen.Watchdog.Enter("copy");
            for (var clock = Stopwatch.StartNew(); clock.Elapsed < Patience.Limit;)
            {
                Thread.Sleep(10);
                frozen.Watchdog.ThrowIfExpired();
            }
        }, options: new FreezeOptions { Watchdog = watchdog, StopTimeout = Patience.Limit }));
    }

    [Fact]
    public void If_the_ptrace_thread_is_stuck_the_process_is_ended_with_the_same_message()
    {
        // As above: it may take its time from the first line to the second.
        var limit = TimeSpan.FromMilliseconds(50);
        string? message;
        do message = WhatIsSaid(limit);
        while (!message.Contains("slowest phase: stuck in a call", StringComparison.Ordinal) && (limit *= 4) < Patience.Limit);
        Assert.Contains("slowest phase: stuck in a call", message);

        static string WhatIsSaid(TimeSpan limit)
        {
            using var said = new ManualResetEventSlim();
            var message = "";
            using var watchdog = new FreezeWatchdog(limit, text =>
            {
                message = text;
                said.Set();
            }, grace: limit);
            watchdog.Start();
            watchdog.Enter("stuck in a call");
            Assert.True(said.Wait(Patience.Limit));
            watchdog.Stop();
            return message;
        }
    }

    [Fact]
    public void A_freeze_that_was_expected_and_came_later_than_its_limit_is_watched_from_its_beginning()
    {
        using var said = new ManualResetEventSlim();
        using var watchdog = new FreezeWatchdog(TimeSpan.FromMilliseconds(20), _ => said.Set(), grace: TimeSpan.FromMilliseconds(20));
        watchdog.Expect();
        Assert.False(said.Wait(TimeSpan.FromMilliseconds(200)));
        watchdog.ThrowIfExpired();
        watchdog.Start();
        Assert.True(said.Wait(Patience.Limit));
        watchdog.Stop();
    }

    [Fact]
    public void A_freeze_that_was_expected_is_watched_as_any_other()
    {
        using var said = new ManualResetEventSlim();
        using var watchdog = new FreezeWatchdog(TimeSpan.FromMilliseconds(50), _ => said.Set(), grace: TimeSpan.FromMilliseconds(50));
        watchdog.Expect();
        watchdog.Start();
        Assert.True(said.Wait(Patience.Limit));
        watchdog.Stop();
    }

    [Fact]
    public void After_the_thaw_nothing_happens_and_the_phases_stay_readable()
    {
        while (!IsThawedInTime()) { }

        // False if we didn't come to the thaw before the limit.
        static bool IsThawedInTime()
        {
            var fired = false;
            var limit = TimeSpan.FromMilliseconds(20);
            using var watchdog = new FreezeWatchdog(limit, _ => fired = true, grace: limit);
            var clock = Stopwatch.StartNew();
            watchdog.Start();
            watchdog.Stop();
            if (clock.Elapsed >= limit) return false;
            Thread.Sleep(200);
            watchdog.ThrowIfExpired();
            Assert.False(fired);
            Assert.Equal(["freeze"], watchdog.Phases.Select(p => p.Name));
            return true;
        }
    }

    [Fact]
    public void The_real_hard_exit_ends_the_process_with_its_code_and_lets_the_target_go()
    {
        // In a process of its own: tests/Crash/InjectDriver hangs in the middle of an injection when told so.
        using var target = TargetProcess.Start("thread_storm", "2", "0");
        target.Expect("ready");
        var driver = Repository.Path("tests", "Crash", "InjectDriver", "bin", AppContext.BaseDirectory.Contains("/Release/") ? "Release" : "Debug", "net10.0", "linux-x64", "Crstore.InjectDriver");
        CommandResult result;
        var ms = 1000; // as above: it may take its time until it hangs
        do result = Run.Command(driver, [target.Pid.ToString(), "hang", ms.ToString()]);
        while (!result.Error.Contains("slowest phase: hang", StringComparison.Ordinal) && (ms *= 4) < Patience.Limit.TotalMilliseconds);
        Assert.Equal((int)ExitCode.FrozenTooLong, result.ExitCode);
        Assert.Contains("slowest phase: hang", result.Error);
        Assert.Equal("ok", target.Ask("verify"));
        Assert.Equal("ok", target.Ask("verify"));
    }
}
