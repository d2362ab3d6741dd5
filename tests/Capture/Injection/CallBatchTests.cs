using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Injection;

/// <summary>Calls in a row: one stop behind all of them, by a signal that the target never sees.</summary>
public sealed class CallBatchTests
{
    // Catches what is asked of it, blocks what is asked of it, and tells what came.
    private const string SignalWatcher = """
        import signal, sys
        caught, blocked = [[int(n) for n in a.split(",") if n] for a in sys.argv[1:3]]
        came = []
        for n in caught: signal.signal(n, lambda n, frame: came.append(n))
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        print("ready", flush=True)
        for line in sys.stdin: print("came", came, "pending", sorted(int(s) for s in signal.sigpending()), flush=True)
        """;

    [Fact]
    public void The_leaders_results_are_known_whatever_they_are()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            var batch = new CallBatch();
            for (var i = 0; i < 300; i++) batch.Add(i % 3 == 0 ? Remote.Getpid : i % 3 == 1 ? Remote.Gettid : Remote.Close, 12345);
            remote.InvokeAll(process.Leader.Tid, batch);
            for (var i = 0; i < batch.Count; i++) Assert.Equal(i % 3 == 2 ? -Errno.EBADF : target.Pid, batch.Result(i));
        });
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void Another_threads_failures_are_known()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            var batch = new CallBatch();
            var answers = (long)remote.ScratchAddress;
            batch.Add(Remote.Close, 12345);
            batch.Add(Remote.Prctl, Remote.PrGetTidAddress, answers);
            batch.Add(Remote.Sigaltstack, 0, answers + 8);
            batch.Add(Remote.Prctl, Remote.PrGetTidAddress, 1);
            remote.InvokeAll(process.Threads[1].Tid, batch);
            Assert.Equal((-Errno.EBADF, 0, 0, -Errno.EFAULT), (batch.Result(0), batch.Result(1), batch.Result(2), batch.Result(3)));
        });
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void There_is_one_stop_for_all_of_them()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            var (leader, other) = (process.Leader.Tid, process.Threads[1].Tid);
            remote.Invoke(leader, Remote.Getpid);
            var answers = (long)remote.ScratchAddress;
            var batch = new CallBatch();
            for (var i = 0; i < 90; i++) batch.Add(Remote.Getpid);
            Assert.InRange(Stops(leader, () => remote.InvokeAll(leader, batch)), 1, 2);
            batch.Clear();
            for (var i = 0; i < 3; i++) batch.Add(Remote.Prctl, Remote.PrGetTidAddress, answers + 8 * i);
            remote.Invoke(other, Remote.Getpid);
            Assert.InRange(Stops(other, () => remote.InvokeAll(other, batch)), 1, 2);
            Assert.InRange(Stops(leader, () => remote.Invoke(leader, Remote.Getpid)), 1, 2);
        });

        // Each stop is a switch that the thread makes by itself. Some other one may be among them.
        long Stops(int tid, Action work)
        {
            var before = Switches(tid);
            work();
            return Switches(tid) - before;
        }

        long Switches(int tid) => long.Parse(TaskStatusFile.Read(target.Pid, tid)!["voluntary_ctxt_switches"]!);
    }

    [Theory]
    [InlineData("", "")]
    [InlineData("23", "")]
    [InlineData("23,17", "")]
    [InlineData("", "23")]
    [InlineData("28", "17,23")]
    [InlineData("23,28", "17")]
    [InlineData("17,23,28", "")]
    [InlineData("", "17,23,28")]
    public void No_signal_is_seen_whichever_are_caught_or_blocked(string caught, string blocked)
    {
        using var target = TargetProcess.Python(SignalWatcher, caught, blocked);
        target.Expect("ready");
        for (var round = 0; round < 10; round++) Remote.During(target.Pid, Remote.Everything);
        Assert.Equal("came [] pending []", target.Ask("?"));
        for (var round = 0; round < 10; round++) Remote.During(target.Pid, Remote.Everything);
        Assert.Equal("came [] pending []", target.Ask("?"));
    }

    [Fact]
    public void A_signal_that_comes_meanwhile_is_delivered_as_ever()
    {
        using var target = TargetProcess.Python(SignalWatcher, "10", "12");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            Remote.Everything(process, remote);
            foreach (var signal in new[] { Signals.SIGUSR1, Signals.SIGUSR2, Signals.SIGURG }) Assert.Equal(0, Signals.TryKill(target.Pid, signal));
            Remote.Everything(process, remote);
        });
        Assert.Equal("came [10] pending [12]", target.Ask("?"));
    }
}
