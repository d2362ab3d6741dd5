using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Tests.Capture.Freezing;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Injection;

/// <summary>Calls in a row: one stop behind all of them, by a signal that the target never sees.</summary>
public sealed class CallBatchTests
{
    // Catches what is asked of it, blocks what is asked of it, and tells what came.
    private const string SignalWatcher = """
        import signal, sys, threading, time
        caught, blocked = [[int(n) for n in a.split(",") if n] for a in sys.argv[1:3]]
        came = []
        for n in caught: signal.signal(n, lambda n, frame: came.append(n))
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        threading.Thread(target=lambda: time.sleep(1000), daemon=True).start()
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
    public void Several_threads_make_theirs_at_the_same_time()
    {
        using var target = TargetProcess.Start("thread_storm", "4", "0");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            var answers = remote.ScratchAddress;
            var others = process.Threads.Skip(1).ToArray();
            Assert.Equal(4, others.Length);
            var expected = others.Select(t => Alone(t.Tid)).ToArray();
            Assert.Equal(4, expected.Distinct().Count());

            var batches = others.Select((_, i) => Question(i)).ToArray();
            var started = others.Zip(batches).TakeWhile(o => remote.TryStart(o.First.Tid, o.Second)).Count();
            Assert.Equal(IRemoteSyscalls.MostStarted, started);
            Assert.False(remote.TryStart(process.Leader.Tid, batches[^1]));
            // In any order, and whatever is asked of others in between.
            Assert.Equal(process.Leader.Tid, remote.Invoke(process.Leader.Tid, Remote.Gettid));
            remote.InvokeAll(others[started].Tid, batches[started]);
            for (var i = started - 1; i >= 0; i--) remote.Finish(batches[i]);
            Assert.Throws<ArgumentException>(() => remote.Finish(batches[0]));
            Assert.True(remote.TryStart(others[3].Tid, batches[3]));
            remote.Finish(batches[3]);
            for (var i = 0; i < others.Length; i++)
            {
                Assert.Equal((0, 0), (batches[i].Result(0), batches[i].Result(1)));
                Assert.Equal(expected[i], Answer(i));
            }

            Assert.True(remote.TryStart(others[0].Tid, batches[0])); // and never finished

            CallBatch Question(int place)
            {
                var batch = new CallBatch();
                batch.Add(Remote.Prctl, Remote.PrGetTidAddress, (long)answers + 8 * place);
                batch.Add(Remote.Sigaltstack, 0, (long)answers + 2048);
                return batch;
            }

            ulong Alone(int tid)
            {
                Assert.Equal(0, remote.Invoke(tid, Remote.Prctl, Remote.PrGetTidAddress, (long)answers));
                return Answer(0);
            }

            ulong Answer(int place)
            {
                Span<byte> answer = stackalloc byte[8];
                remote.Read(answers + 8 * (ulong)place, answer);
                remote.Write(answers + 8 * (ulong)place, new byte[8]);
                return BitConverter.ToUInt64(answer);
            }
        });
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void Which_one_failed_is_known_of_those_that_were_started_too()
    {
        using var target = TargetProcess.Start("thread_storm", "2", "0");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            var answers = (long)remote.ScratchAddress;
            CallBatch[] batches = [new(), new()];
            foreach (var batch in batches)
            {
                batch.Add(Remote.Close, 12345);
                batch.Add(Remote.Prctl, Remote.PrGetTidAddress, answers);
            }

            for (var i = 0; i < 2; i++) Assert.True(remote.TryStart(process.Threads[i + 1].Tid, batches[i]));
            foreach (var batch in batches)
            {
                remote.Finish(batch);
                Assert.Equal((-Errno.EBADF, 0), (batch.Result(0), batch.Result(1)));
            }
        });
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void A_stop_signal_that_comes_while_they_do_takes_effect_after_the_thaw()
    {
        using var target = TargetProcess.Start("thread_storm", "2", "0");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            var batches = StartTwo(process, remote);
            Assert.Equal(0, Signals.TryKill(target.Pid, Signals.SIGSTOP));
            foreach (var batch in batches)
            {
                remote.Finish(batch);
                Assert.Equal(0, batch.Result(0));
            }
        });
        Assert.Equal('T', Frozen.WaitForState(target.Pid, "T"));
        target.Signal(Signals.SIGCONT);
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void Their_process_killed_meanwhile_is_a_clear_error()
    {
        using var target = TargetProcess.Start("thread_storm", "2", "0");
        target.Expect("ready");
        var error = Assert.Throws<Model.TargetException>(() => Remote.During(target.Pid, (process, remote) =>
        {
            for (var i = 0; i < 100_000; i++)
            {
                var batches = StartTwo(process, remote);
                if (i == 0) Assert.Equal(0, Signals.TryKill(target.Pid, Signals.SIGKILL));
                foreach (var batch in batches) remote.Finish(batch);
            }
        }));
        Assert.Contains("ended during the capture", error.Message);
        Assert.Equal(128 + 9, target.WaitForExit());
    }

    private static CallBatch[] StartTwo(FrozenProcess process, RemoteSyscalls remote)
    {
        CallBatch[] batches = [new(), new()];
        for (var i = 0; i < 2; i++)
        {
            batches[i].Add(Remote.Prctl, Remote.PrGetTidAddress, (long)remote.ScratchAddress);
            Assert.True(remote.TryStart(process.Threads[i + 1].Tid, batches[i]));
        }

        return batches;
    }

    [Fact]
    public void A_thread_that_can_not_be_stopped_by_a_signal_is_not_started()
    {
        using var target = TargetProcess.Python(SignalWatcher, "17,23,28", "");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            var batch = new CallBatch();
            batch.Add(Remote.Prctl, Remote.PrGetTidAddress, (long)remote.ScratchAddress);
            Assert.False(remote.TryStart(process.Threads[1].Tid, batch));
            remote.InvokeAll(process.Threads[1].Tid, batch);
            Assert.Equal(0, batch.Result(0));
        });
        Assert.Equal("came [] pending []", target.Ask("?"));
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

        // Each stop is a switch that the thread makes by itself. Some other one may be among them, and more where there is much else to do, but not each time.
        long Stops(int tid, Action work) => Enumerable.Range(0, 20).Select(_ =>
        {
            var before = Switches(tid);
            work();
            return Switches(tid) - before;
        }).Min();

        long Switches(int tid) => long.Parse(TaskStatusFile.Read(target.Pid, tid)!["voluntary_ctxt_switches"]!);
    }

    [Theory]
    [InlineData(0, 0, Signals.SIGURG)]
    [InlineData(1UL << 22, 0, Signals.SIGWINCH)]
    [InlineData(0, 1UL << 22, Signals.SIGWINCH)]
    [InlineData(1UL << 27, 1UL << 22, Signals.SIGCHLD)]
    [InlineData((1UL << 27) | (1UL << 16), 1UL << 22, 0)]
    [InlineData(0, ulong.MaxValue, 0)]
    public void The_signal_is_one_that_is_neither_caught_nor_blocked(ulong caught, ulong mask, int signal) => Assert.Equal(signal, StopSignal.Choose(caught, mask));

    /// <summary>Signal numbers that the target catches, and that it blocks.</summary>
    public static TheoryData<string, string> CaughtAndBlocked => new()
    {
        { "", "" }, { "23", "" }, { "23,17", "" }, { "", "23" }, { "28", "17,23" }, { "23,28", "17" }, { "17,23,28", "" }, { "", "17,23,28" },
    };

    [Theory]
    [MemberData(nameof(CaughtAndBlocked))]
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

    [Theory]
    [MemberData(nameof(CaughtAndBlocked))]
    public void Nor_if_crstore_dies_in_the_stop_or_before_the_thaw(string caught, string blocked)
    {
        using var target = TargetProcess.Python(SignalWatcher, caught, blocked);
        target.Expect("ready");
        for (var stage = 0; stage < 7; stage++)
        {
            Abandon(target.Pid, stage);
            Assert.Equal("came [] pending []", target.Ask("?"));
        }

        // Nothing of it is left.
        Remote.During(target.Pid, Remote.Everything);
        Assert.Equal("came [] pending []", target.Ask("?"));
    }

    /// <summary>Calls in a row up to some point, where the ptrace thread ends: to the kernel that is crstore's death.</summary>
    private static void Abandon(int pid, int stage)
    {
        using var watchdog = new FreezeWatchdog(TimeSpan.FromMinutes(5));
        using var thread = new PtraceThread();
        thread.Run(() =>
        {
            var process = FrozenTree.Freeze(pid, tree: false, new FreezeOptions { Watchdog = watchdog, StopTimeout = TimeSpan.FromMinutes(1) }).Processes[0];
            watchdog.Stop();
            Assert.Equal(2, process.Threads.Count);
            var remote = RemoteSyscalls.TryBegin(process, out var whyNot);
            Assert.True(remote is not null, whyNot);
            var answers = (long)remote.ScratchAddress;
            if (stage == 0) return;
            var batch = new CallBatch();
            for (var i = 0; i < 3; i++) batch.Add(Remote.Prctl, Remote.PrGetTidAddress, answers + 8 * i);
            remote.InvokeAll(process.Leader.Tid, batch);
            if (stage == 1) return;
            remote.InvokeAll(process.Threads[1].Tid, batch);
            if (stage == 2) return;
            remote.Invoke(process.Threads[1].Tid, Remote.Getpid);
            if (stage == 3) return;
            remote.Invoke(process.Leader.Tid, Remote.Getpid); // the other one is given back
            if (stage == 4) return;
            remote.TryStart(process.Threads[1].Tid, batch); // and nobody waits for it
            if (stage == 5) return;
            remote.Dispose();
        });
    }
}
