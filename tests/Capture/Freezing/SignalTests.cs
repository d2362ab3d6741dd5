using System.Globalization;
using System.Text.RegularExpressions;
using Crstore.Linux;
using Crstore.Tests.Capture.Injection;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

public sealed class SignalTests
{
    [Fact]
    public void Signals_sent_during_the_freeze_are_delivered_afterwards_once()
    {
        using var target = TargetProcess.Start("signal_counter");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            Remote.Everything(process, remote);
            for (var i = 0; i < 5; i++) target.Signal(34); // SIGRTMIN of programs: the kernel's 32 and 33 belong to glibc
            target.Signal(Signals.SIGUSR1);
            Remote.Everything(process, remote);
            // SIGUSR1, bit 9, is sent last.
            Patience.Until(() => (Convert.ToUInt64(TaskStatusFile.Read(target.Pid)!["ShdPnd"]!.Trim(), 16) & 0x200) != 0, "the signals to be sent", pauseMs: 1);
        });
        Assert.Equal("usr1 1 rt 5 out-of-order 0 spurious 0", target.Ask("count"));
    }

    [Fact]
    public void No_signal_of_a_steady_stream_is_lost_or_doubled_and_epoll_wait_sees_no_EINTR_of_ours()
    {
        using var target = TargetProcess.Start("signal_counter");
        target.Expect("ready");
        const int some = 200; // beyond RLIMIT_SIGPENDING, 4000 for each GB of memory, kill(2) succeeds without a signal of its own: who gets no processor for a while may not fall behind so far
        var sent = 0;
        var stop = false;
        var sender = new Thread(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                if (Signals.TryKill(target.Pid, 34) == 0) sent++;
                Thread.SpinWait(2000);
                if (sent % some == 0) while (Queued(target.Pid) > some && !Volatile.Read(ref stop)) Thread.Sleep(1);
            }
        });
        sender.Start();
        try
        {
            for (var round = 0; round < 150 || Volatile.Read(ref sent) <= 100; round++)
            {
                if (round % 2 == 0) Frozen.During(target.Pid, frozen => Assert.Single(frozen.Processes));
                else Remote.During(target.Pid, Remote.Everything);
            }
        }
        finally
        {
            stop = true;
            sender.Join();
        }
        Thread.Sleep(100);
        var counted = Regex.Match(target.Ask("count"), @"^usr1 0 rt (\d+) out-of-order 0 spurious 0$");
        Assert.True(counted.Success);
        Assert.True(sent > 100);
        Assert.Equal(sent, int.Parse(counted.Groups[1].Value));
    }

    // "SigQ: 3/95000" of proc_pid_status(5): of all processes of its user.
    private static int Queued(int pid) => int.Parse(TaskStatusFile.Read(pid)!["SigQ"]!.Trim().Split('/')[0], CultureInfo.InvariantCulture);

    [Fact]
    public void A_fatal_signal_that_is_pending_at_the_freeze_still_kills()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        Frozen.During(target.Pid, _ => target.Signal(Signals.SIGTERM));
        Assert.Equal(128 + Signals.SIGTERM, target.WaitForExit());
    }
}
