using System.Diagnostics;
using Crstore.Linux;
using Crstore.Tests.Capture.Freezing;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Injection;

/// <summary>A thread that sleeps in a system call while it is frozen and injected into gets the result it would have got anyway.</summary>
public sealed class BlockingCallTests
{
    private const int Etimedout = Errno.ETIMEDOUT, Eagain = Errno.EAGAIN, TimeoutMs = 1500;

    [Theory]
    [InlineData("futex", 0)]
    [InlineData("poll", 1)]
    [InlineData("ppoll", 1)]
    [InlineData("select", 1)]
    [InlineData("epoll_wait", 1)]
    [InlineData("read", 1)]
    [InlineData("accept", 0)]
    [InlineData("recv", 1)]
    [InlineData("sigtimedwait", 10)]
    [InlineData("semtimedop", 0)]
    public void Woken_up_later_it_returns_what_woke_it(string call, int result)
    {
        using var target = TargetProcess.Start("blocker", call);
        target.Expect("ready");
        WaitUntilBlocked(target.Pid);
        Disturb(target, 20);
        target.Send("wake");
        Assert.StartsWith($"{result} errno 0 ", target.Expect("result "));
    }

    [Theory]
    [InlineData("nanosleep", 0, 0)]
    [InlineData("clock_nanosleep", 0, 0)]
    [InlineData("futex", -1, Etimedout)]
    [InlineData("poll", 0, 0)]
    [InlineData("ppoll", 0, 0)]
    [InlineData("select", 0, 0)]
    [InlineData("epoll_wait", 0, 0)]
    [InlineData("accept", -1, Eagain)]
    [InlineData("recv", -1, Eagain)]
    [InlineData("sigtimedwait", -1, Eagain)]
    [InlineData("semtimedop", -1, Eagain)]
    public void Left_alone_it_times_out_and_not_too_early(string call, int result, int errno)
    {
        // Where there is much else to do it may have timed out, rightly, before anybody came to disturb it: then again, with more time.
        var ms = TimeoutMs;
        while (!IsDisturbedAndTimesOut(call, ms, $"{result} errno {errno} ms ") && ms < 100_000) ms *= 4;
    }

    /// <summary>False if it had ended before it had been disturbed at all.</summary>
    private static bool IsDisturbedAndTimesOut(string call, int ms, string result)
    {
        using var target = TargetProcess.Start("blocker", call, ms.ToString());
        target.Expect("ready");
        var inTime = true;
        try
        {
            WaitUntilBlocked(target.Pid);
            Disturb(target, 10, TimeSpan.FromMilliseconds(ms / 2));
        }
        catch (Exception) when (ms < 100_000 && target.TryWaitForExit(TimeSpan.FromMinutes(1), out var code) && code == 0)
        {
            inTime = false;
        }
        var said = target.Expect("result ");
        Assert.StartsWith(result, said);
        Assert.True(int.Parse(said.Split(' ')[^1]) >= ms, said);
        return inTime;
    }

    [Fact]
    public void Sigsuspend_ends_with_the_signal_that_came_while_it_was_frozen()
    {
        using var target = TargetProcess.Start("blocker", "sigsuspend");
        target.Expect("ready");
        WaitUntilBlocked(target.Pid);
        Disturb(target, 10);
        Remote.During(target.Pid, (process, remote) =>
        {
            Assert.Equal(0, Signals.TryKill(target.Pid, Signals.SIGUSR1));
            Remote.Everything(process, remote);
        });
        Assert.StartsWith($"-1 errno {Errno.EINTR} ", target.Expect("result "));
    }

    /// <summary>Freezes alone and freezes with injection into every thread, in turn; at least once, and not for longer than given.</summary>
    private static void Disturb(TargetProcess target, int rounds, TimeSpan? limit = null)
    {
        var clock = Stopwatch.StartNew();
        for (var round = 0; round == 0 || (round < rounds && clock.Elapsed < (limit ?? TimeSpan.MaxValue)); round++)
        {
            Frozen.During(target.Pid, frozen => Assert.Equal(2, frozen.Processes[0].Threads.Count));
            Remote.During(target.Pid, Remote.Everything);
            Thread.Sleep(5);
        }
    }

    private static void WaitUntilBlocked(int pid)
    {
        Assert.Equal('S', Frozen.WaitForState(pid, "S"));
        Thread.Sleep(20);
        Assert.Equal('S', Frozen.WaitForState(pid, "S"));
    }
}
