using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

public sealed class FreezeTests
{
    [Fact]
    public void A_frozen_process_stands_still_and_runs_on_afterwards()
    {
        using var target = TargetProcess.Python("""
            import time
            n = 0
            while True:
                n += 1
                if n % 1000 == 0: print(n, flush=True)
            """);
        target.ReadLine();
        Frozen.During(target.Pid, frozen =>
        {
            var process = Assert.Single(frozen.Processes);
            Assert.Equal(target.Pid, process.Leader.Tid);
            Assert.Equal('t', Frozen.State(target.Pid));
            var before = Ptrace.GetRegs(target.Pid);
            while (target.TryReadLine(TimeSpan.FromMilliseconds(200)) is not null) { }
            Assert.Equal(before.Rip, Ptrace.GetRegs(target.Pid).Rip);
            Assert.True(frozen.FrozenTime > TimeSpan.FromMilliseconds(200));
        });
        target.ReadLine();
        Assert.Equal(0, TaskStatusFile.Read(target.Pid)!.TracerPid);
    }

    [Fact]
    public void Every_thread_is_stopped_while_threads_come_and_go()
    {
        using var target = TargetProcess.Start("thread_storm", "3", "3");
        target.Expect("ready");
        for (var round = 0; round < 100; round++)
        {
            Frozen.During(target.Pid, frozen =>
            {
                var tids = TaskList.Threads(target.Pid);
                Assert.Equal(tids.Order(), frozen.Processes[0].Threads.Select(t => t.Tid).Order());
                foreach (var tid in tids) Assert.Equal('t', TaskStat.Read(target.Pid, tid)!.State);
                Assert.Equal(target.Pid, frozen.Processes[0].Threads[0].Tid);
            });
        }
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void A_stopped_process_stays_stopped()
    {
        using var target = TargetProcess.Start("thread_storm", "2", "1");
        target.Expect("ready");
        target.Signal(Signals.SIGSTOP);
        Assert.Equal('T', Frozen.WaitForState(target.Pid, "T"));
        for (var round = 0; round < 20; round++)
        {
            Frozen.During(target.Pid, frozen =>
            {
                Assert.True(frozen.Processes[0].WasStopped);
                Assert.All(frozen.Processes[0].Threads, t => Assert.True(t.WasStopped));
            });
            Assert.Equal('T', Frozen.WaitForState(target.Pid, "T"));
        }
        target.Signal(Signals.SIGCONT);
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void Keep_stopped_leaves_every_process_in_group_stop_without_running_an_instruction()
    {
        using var target = TargetProcess.Start("thread_storm", "2", "1");
        target.Expect("ready");
        var registers = Frozen.During(target.Pid, frozen =>
        {
            var seen = frozen.Processes[0].Threads.ToDictionary(t => t.Tid, t => Ptrace.GetRegs(t.Tid));
            frozen.Thaw(keepStopped: true);
            return seen;
        });
        Assert.Equal('T', Frozen.WaitForState(target.Pid, "T"));
        Frozen.During(target.Pid, frozen =>
        {
            Assert.True(frozen.Processes[0].WasStopped);
            foreach (var thread in frozen.Processes[0].Threads)
                Assert.Equal(registers[thread.Tid].Rip, Ptrace.GetRegs(thread.Tid).Rip);
        });
        Assert.Equal('T', Frozen.WaitForState(target.Pid, "T"));
        target.Signal(Signals.SIGCONT);
        Assert.Equal("ok", target.Ask("verify"));
    }
}
