using System.Globalization;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Capture.Snapshots;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Tests.Capture.Freezing;
using Crstore.Tests.Capture.Injection;
using Crstore.Tests.Memory;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Snapshots;

/// <summary>A copy-on-write snapshot has what a copy in the freeze would have, and the target notices nothing of it.</summary>
public sealed class SnapshotTests
{
    [Theory]
    [InlineData("private")]
    [InlineData("thp")]
    public void What_is_read_of_it_while_the_target_writes_is_what_was_there_in_the_freeze(string kind)
    {
        using var target = TargetProcess.Start("pattern_writer", "48", "7", kind);
        target.Expect("ready ");
        target.Ask("start");
        TestCapture? last = null;
        // Where writing takes longer, less than most of it is written again by then: then once more, with more time.
        var (tried, time) = (0, TimeSpan.FromSeconds(0.2));
        for (var round = 0; tried < 3 && round < 12; round++)
        {
            last = TestCapture.Take(target, last, snapshot: true); // compares each page with what was read in the freeze
            if (last.Dirty > 48 * 256 / 2) tried++;
            else time *= 2;
            Patience.UntilItHasRunFor(target.Pid, time);
        }

        Assert.True(tried == 3, "nothing to read: the snapshot was not tried");
        Assert.True(last!.Proof.Continuous, last.Proof.Reason);
        target.Ask("stop");
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void Memory_that_children_do_not_get_is_captured_all_the_same()
    {
        using var target = TargetProcess.Start("fork_watcher", "8");
        var areas = Areas(target);
        var capture = TestCapture.Take(target, snapshot: true);
        foreach (var address in areas)
            for (ulong page = 0; page < 64; page++)
                Assert.Equal(PageKind.Chunk, capture.Space.Pages[(address >> 12) + page].Kind); // what it holds was compared with the frozen process
    }

    [Fact]
    public void What_the_kernel_writes_for_a_thread_that_is_asked_after_the_snapshot_is_captured()
    {
        Requires.That(Environment.ProcessorCount > 1, "two processors");
        using var target = TargetProcess.Start("fork_watcher", "8");
        target.Expect("ready ");
        var asked = 0;
        // The number of its processor changes in its rseq area; all pages are compared with the frozen process.
        TestCapture.Take(target, snapshot: true, afterSnapshot: process =>
        {
            using var remote = RemoteSyscalls.TryBegin(process, out _)!;
            foreach (var thread in process.Threads)
                if (thread.Tid != process.Leader.Tid && MoveToOtherProcessor(target.Pid, thread.Tid, () => remote.Invoke(thread.Tid, 186 /* gettid */))) asked++;
        });
        Assert.Equal(1, asked);
    }

    [Theory]
    [InlineData("dontfork")]
    [InlineData("wipe")]
    public void Memory_that_was_taken_from_children_since_we_looked_is_noticed(string advice)
    {
        using var target = TargetProcess.Start("fork_watcher", "8");
        Areas(target);
        Assert.Equal("advised 0", target.Ask("advise 0 dofork"));
        Assert.Equal("advised 0", target.Ask("advise 1 keep"));
        var area = advice == "wipe" ? 1 : 0;
        Assert.Throws<SnapshotLostException>(() => TestCapture.Take(target, snapshot: true, beforeFreeze: () => target.Ask($"advise {area} {advice}")));
    }

    [Fact]
    public void The_target_has_no_child_gets_no_signal_and_waits_for_nothing()
    {
        using var target = TargetProcess.Start("fork_watcher", "8");
        target.Expect("ready ");
        var before = Remote.Footprint(target.Pid);
        for (var round = 0; round < 10; round++)
        {
            var copy = Take(target.Pid, out var whyNot);
            Assert.True(copy != 0, whyNot);
            using var snapshot = new ProcessSnapshot(copy);
            Assert.Equal("children 0 sigchld 0 waited 0", target.Ask("status"));
        }

        Assert.Equal("children 0 sigchld 0 waited 0", target.Ask("status"));
        var after = Remote.Footprint(target.Pid);
        Assert.Equal(before.Fds, after.Fds);
        Assert.Equal(before.Maps, after.Maps);
    }

    [Fact]
    public void It_is_an_orphan_that_never_runs_with_no_fds_and_dies_with_the_thread_that_traces_it()
    {
        using var target = TargetProcess.Start("fork_watcher", "8");
        target.Expect("ready ");
        var copy = 0;
        using (var thread = new PtraceThread())
        {
            thread.Run(() =>
            {
                using var frozen = Crstore.Capture.Freezing.FrozenTree.Freeze(target.Pid, tree: false, Frozen.Patient);
                using var remote = RemoteSyscalls.TryBegin(frozen.Processes[0], out _)!;
                copy = remote.TrySnapshot(out _);
            });
            Assert.NotEqual(0, copy);
            var stat = TaskStat.Read(copy)!;
            Assert.Equal('t', stat.State);
            Assert.NotEqual(target.Pid, stat.ParentPid);
            Assert.Empty(Directory.GetFileSystemEntries($"/proc/{copy}/fd"));
            using var memory = RemoteMemory.Open(copy);
            Assert.True(memory.TryReadForced(Frozen.During(target.Pid, f => Ptrace.GetRegs(f.Processes[0].Leader.Tid).Rsp), new byte[64]) > 0);
        }

        // Its end is the kernel's to bring about, and init's to take.
        Assert.Contains(Frozen.WaitForState(copy, "Z-"), "Z-");
        Assert.Equal("children 0 sigchld 0 waited 0", target.Ask("status"));
    }

    [Fact]
    public void Threads_without_a_signal_to_stop_by_can_make_one_too()
    {
        // Go programs and others catch all three signals that could stop a thread behind its calls.
        using var target = TargetProcess.Python("""
            import signal, sys
            for s in (signal.SIGURG, signal.SIGWINCH, signal.SIGCHLD): signal.signal(s, lambda *a: print("caught", a[0], flush=True))
            print("ready", flush=True)
            for line in sys.stdin: print("alive", flush=True)
            """);
        target.Expect("ready");
        for (var round = 0; round < 5; round++)
        {
            var copy = Take(target.Pid, out var whyNot);
            Assert.True(copy != 0, whyNot);
            using var snapshot = new ProcessSnapshot(copy);
            Assert.Equal("alive", target.Ask("go"));
        }
    }

    [Fact]
    public void A_target_that_may_not_have_more_processes_is_refused_and_goes_on()
    {
        Requires.That(Environment.UserName == "root", "root, to start a target as another user");
        var uid = 1_000_000 + Environment.ProcessId; // with no other processes
        using var open = new TempDir().OpenToAll(); // the checkout may be closed to others
        Run.Command("install", ["-m", "755", Targets.Path("fork_watcher"), open.File("fork_watcher")]).MustSucceed(); // not by us: a child of another test would have it open for writing until its exec
        using var target = TargetProcess.Start(new TargetStart(open.File("fork_watcher"), "8") { Uid = uid });
        target.Expect("ready ");
        Assert.Equal("", SnapshotGuard.WhyNot(target.Pid, [target.Pid], 8 << 20));
        Assert.Equal("limited 0", target.Ask("limit 2"));
        Assert.Contains("RLIMIT_NPROC", SnapshotGuard.WhyNot(target.Pid, [target.Pid], 8 << 20));
        Assert.Equal(0, Take(target.Pid, out var whyNot)); // as if the limit had come in between
        Assert.Contains("errno 11", whyNot);
        Assert.Equal("limited 0", target.Ask("limit 3")); // room for the helper, not for the copy
        Assert.Equal(0, Take(target.Pid, out whyNot));
        Assert.Contains("errno 11", whyNot);
        Assert.Equal("children 0 sigchld 0 waited 0", target.Ask("status"));
    }

    [Fact]
    public void A_target_to_which_the_copy_would_come_as_an_orphan_is_refused()
    {
        using var target = TargetProcess.Start("fork_watcher", "8");
        target.Expect("ready ");
        Assert.Equal("adopts 0", target.Ask("adopt"));
        Assert.Equal(0, Take(target.Pid, out var whyNot));
        Assert.Contains("PR_SET_CHILD_SUBREAPER", whyNot);
        Assert.Equal("children 0 sigchld 0 waited 0", target.Ask("status"));
    }

    [Theory]
    [InlineData("pid")]
    [InlineData("time")]
    public void A_target_whose_children_are_born_into_another_namespace_is_refused(string kind)
    {
        using var target = TargetProcess.Start("fork_watcher", "8");
        target.Expect("ready ");
        using var proc = ProcDirectory.Open(target.Pid);
        Assert.Equal("", SnapshotGuard.WhyNot(proc, [], 0));
        Requires.That(target.Ask($"unshare {kind}") == "unshared 0", $"another {kind} namespace");
        Assert.Contains("namespace", SnapshotGuard.WhyNot(proc, [], 0));
        Assert.Equal("forked 0", target.Ask("fork"));
    }

    [Fact]
    public void A_snapshot_that_is_killed_while_it_is_read_is_an_error()
    {
        using var target = TargetProcess.Start("fork_watcher", "8");
        target.Expect("ready ");
        Assert.Throws<SnapshotLostException>(() => TestCapture.Take(target, snapshot: true, afterThaw: snapshot => snapshot.Kill()));
        Assert.Equal("children 0 sigchld 0 waited 0", target.Ask("status"));
    }

    // True if it has an rseq area, rseq(2), and it is on another processor after the work.
    private static bool MoveToOtherProcessor(int pid, int tid, Action work)
    {
        if (Ptrace.GetRseq(tid) is not { Address: > 0 and var area }) return false;
        var allowed = CpuAffinity.Get(tid);
        var before = Processor();
        // Any but the one: of its mask, without that bit.
        var others = (byte[])allowed.Clone();
        others[before / 8] &= (byte)~(1 << before % 8);
        CpuAffinity.TrySet(tid, others);
        work();
        CpuAffinity.TrySet(tid, allowed);
        return Processor() != before;

        int Processor()
        {
            using var memory = RemoteMemory.Open(pid);
            var number = new byte[sizeof(int)];
            Assert.Equal(number.Length, memory.TryReadForced(area, number));
            return BitConverter.ToInt32(number);
        }
    }

    private static int Take(int pid, out string whyNot)
    {
        var why = "";
        // Not by Frozen.During: its thread's end would end the copy.
        var thread = new PtraceThread();
        var copy = thread.Run(() =>
        {
            using var frozen = Crstore.Capture.Freezing.FrozenTree.Freeze(pid, tree: false, Frozen.Patient);
            using var remote = RemoteSyscalls.TryBegin(frozen.Processes[0], out _)!;
            return remote.TrySnapshot(out why);
        });
        whyNot = why;
        return copy;
    }

    private static ulong[] Areas(TargetProcess target)
    {
        var words = target.Expect("ready ").Split(' ');
        return [ulong.Parse(words[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture), ulong.Parse(words[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture)];
    }
}
