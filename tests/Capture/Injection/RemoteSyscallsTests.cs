using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Tests.Capture.Freezing;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Injection;

public sealed class RemoteSyscallsTests
{
    [Fact]
    public void Every_thread_makes_the_call_that_is_asked_of_it()
    {
        using var target = TargetProcess.Start("thread_storm", "4", "0");
        target.Expect("ready");
        for (var round = 0; round < 20; round++)
        {
            Remote.During(target.Pid, (process, remote) =>
            {
                Assert.Equal(5, process.Threads.Count);
                Assert.Equal(target.Pid, remote.Invoke(process.Leader.Tid, Remote.Getpid));
                Remote.Everything(process, remote);
                Assert.Equal(process.Threads[2].Tid, remote.Invoke(process.Threads[2].Tid, Remote.Gettid));
            });
        }
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void Registers_masks_fds_and_mappings_are_as_before()
    {
        using var target = TargetProcess.Start("thread_storm", "2", "0");
        target.Expect("ready");
        var before = Remote.Footprint(target.Pid);
        Frozen.During(target.Pid, frozen =>
        {
            var process = frozen.Processes[0];
            var states = process.Threads.Select(t => State(t.Tid)).ToArray();
            using (var remote = RemoteSyscalls.TryBegin(process, out var whyNot))
            {
                Assert.True(remote is not null, whyNot);
                Remote.Everything(process, remote);
                Assert.Equal(states[0].Registers, remote.GetRegs(process.Leader.Tid).ToBytes());
            }
            Assert.Equal(states, process.Threads.Select(t => State(t.Tid)));
        });
        var after = Remote.Footprint(target.Pid);
        Assert.Equal(before.Fds, after.Fds);
        Assert.Equal(before.Maps, after.Maps);
        using var memory = ProcessMemory.Open(target.Pid);
        var area = SlotArea.Find(memory, out _)!;
        var slots = new byte[SlotArea.Size];
        memory.Read(area.Start, slots);
        Assert.DoesNotContain(slots, b => b != 0);
        Assert.Equal("ok", target.Ask("verify"));

        static ThreadState State(int tid) => new(Ptrace.GetRegs(tid).ToBytes(), Ptrace.GetRegSet(tid, RegisterSet.XState), Ptrace.GetSigMask(tid));
    }

    [Fact]
    public void An_acquired_fd_is_closed_at_the_end_unless_it_is_left_to_the_target()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        var (closed, left) = Remote.During(target.Pid, (process, remote) =>
        {
            var name = (long)remote.ScratchAddress;
            var fds = Enumerable.Range(0, 4).Select(_ => remote.AcquireFd(process.Leader.Tid, Remote.MemfdCreate, name, 0)).ToArray();
            remote.LeaveToTarget(fds[2]);
            remote.CloseFd(fds[3]);
            return (fds[0], fds[2]);
        });
        Assert.False(Exists(closed));
        Assert.False(Exists(left + 1));
        Assert.True(Exists(left));

        bool Exists(int fd) => Path.Exists($"/proc/{target.Pid}/fd/{fd}") || new FileInfo($"/proc/{target.Pid}/fd/{fd}").LinkTarget is not null;
    }

    [Fact]
    public void A_failing_call_gives_its_errno()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            Assert.Equal(-Errno.EBADF, remote.Invoke(process.Leader.Tid, Remote.Close, 12345));
            Assert.Equal(-Errno.EFAULT, remote.AcquireFd(process.Leader.Tid, Remote.MemfdCreate, 1, 0));
            Assert.Throws<ArgumentException>(() => remote.Invoke(1, Remote.Getpid));
        });
    }

    [Fact]
    public void A_process_with_a_deadly_seccomp_filter_survives_forbidden_calls()
    {
        Requires.Root();
        using var target = TargetProcess.Start("sandboxed", "kill");
        target.Expect("ready");
        target.Send("");
        target.Expect("alive");
        for (var round = 0; round < 20; round++) Remote.During(target.Pid, Remote.Everything);
        target.Send("");
        target.Expect("alive");
    }

    [Fact]
    public void Strict_seccomp_can_be_frozen_but_not_injected_into()
    {
        using var target = TargetProcess.Start("sandboxed", "strict");
        target.Expect("ready");
        Patience.Until(() => TaskStatusFile.Read(target.Pid)!.Seccomp == 1, "strict seccomp", pauseMs: 1); // it says so before
        Frozen.During(target.Pid, frozen =>
        {
            Assert.Null(RemoteSyscalls.TryBegin(frozen.Processes[0], out var whyNot));
            Assert.Contains("strict seccomp", whyNot);
        });
        target.Send("");
        target.Expect("alive");
    }

    [Fact]
    public void A_process_whose_system_calls_are_dispatched_to_itself_is_not_injected_into()
    {
        using var target = TargetProcess.Start("self_dispatched");
        target.Expect("ready");
        for (var round = 0; round < 10; round++)
        {
            Frozen.During(target.Pid, frozen =>
            {
                using var remote = RemoteSyscalls.TryBegin(frozen.Processes[0], out var whyNot);
                remote?.Invoke(target.Pid, Remote.Getpid);
                Assert.Contains("dispatched to itself", whyNot);
            });
        }

        for (var round = 0; round < 3; round++) Assert.Equal("quiet", target.ReadLine());
    }

    [Fact]
    public void A_stopped_process_is_injected_into_and_stays_stopped()
    {
        using var target = TargetProcess.Start("thread_storm", "2", "0");
        target.Expect("ready");
        target.Signal(Signals.SIGSTOP);
        Assert.Equal('T', Frozen.WaitForState(target.Pid, "T"));
        for (var round = 0; round < 10; round++)
        {
            Remote.During(target.Pid, Remote.Everything);
            Assert.Equal('T', Frozen.WaitForState(target.Pid, "T"));
        }
        target.Signal(Signals.SIGCONT);
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void A_stop_signal_that_comes_during_the_injection_takes_effect_after_the_thaw()
    {
        using var target = TargetProcess.Start("thread_storm", "2", "0");
        target.Expect("ready");
        Remote.During(target.Pid, (process, remote) =>
        {
            Assert.Equal(target.Pid, remote.Invoke(process.Leader.Tid, Remote.Getpid));
            Assert.Equal(0, Signals.TryKill(target.Pid, Signals.SIGSTOP));
            Remote.Everything(process, remote);
        });
        Assert.Equal('T', Frozen.WaitForState(target.Pid, "T"));
        target.Signal(Signals.SIGCONT);
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void A_process_killed_during_the_injection_is_a_clear_error()
    {
        using var target = TargetProcess.Start("thread_storm", "2", "0");
        target.Expect("ready");
        var error = Assert.Throws<Model.TargetException>(() => Remote.During(target.Pid, (process, remote) =>
        {
            Assert.Equal(target.Pid, remote.Invoke(process.Leader.Tid, Remote.Getpid));
            Assert.Equal(0, Signals.TryKill(target.Pid, Signals.SIGKILL));
            for (var i = 0; i < 100_000; i++) remote.Invoke(process.Leader.Tid, Remote.Getpid);
        }));
        Assert.Contains("ended during the capture", error.Message);
        Assert.Equal(128 + 9, target.WaitForExit());
    }

    private sealed record ThreadState(byte[] Registers, byte[] XState, ulong Mask)
    {
        public bool Equals(ThreadState? other) => other is not null && Mask == other.Mask
            && Registers.AsSpan().SequenceEqual(other.Registers) && XState.AsSpan().SequenceEqual(other.XState);

        public override int GetHashCode() => (int)Mask;
    }
}
