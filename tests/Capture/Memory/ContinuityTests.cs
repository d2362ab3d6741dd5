using System.Globalization;
using Crstore.Capture.Memory;
using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>A clean page counts only with proof; each test takes one link out of the chain.</summary>
public sealed class ContinuityTests
{
    private static readonly TrackerKind? Best = null;

    [Fact]
    public void After_exec_nothing_is_kept()
    {
        using var target = TrackedTarget(out var first);
        target.Ask("exec");
        var second = TestCapture.Take(target, first, Best);
        Assert.False(second.Proof.Continuous);
        Assert.Contains("execve", second.Proof.Reason);
        Assert.Equal(0UL, second.Kept);
    }

    [Fact]
    public void After_exec_between_the_rounds_of_a_capture_nothing_is_kept_of_the_first()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        target.Ask("map a 300");
        target.Ask("fill a 0 300");
        var before = 0;
        var capture = TestCapture.Take(target, null, TrackerKind.Uffd, meanwhile: () =>
        {
            if (before++ == 0) target.Ask("exec");
        });
        Assert.Contains("execve", capture.Proof.Reason);
        Assert.Equal(0UL, capture.Kept);
    }

    [Fact]
    public void A_capture_in_two_rounds_keeps_what_was_not_written_between_them()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        target.Ask("map a 300");
        target.Ask("fill a 0 300");
        var capture = TestCapture.Take(target, null, TrackerKind.Uffd, meanwhile: () => target.Ask("fill a 10 5"));
        Assert.InRange(capture.Kept, 200UL, 1000UL);
        Assert.True(capture.Sampled > 0);
        var next = TestCapture.Take(target, capture, TrackerKind.Uffd);
        Assert.True(next.Proof.Continuous);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void An_increment_in_rounds_stores_once_what_is_written_again_and_again(int rounds)
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TrackedTarget(out var first);
        target.Ask("fill a 100 20");
        var second = TestCapture.Take(target, first, TrackerKind.Uffd, meanwhile: () => target.Ask("fill a 10 50"), rounds: rounds);
        Assert.True(second.Proof.Continuous, second.Proof.Reason);
        Assert.Contains(rounds == 1 ? "saved while it ran" : "saved in 3 rounds while it ran", second.Proof.Reason);
        Assert.True(second.Sampled > 0);
        Assert.InRange(second.Dirty, 70UL, 130UL); // and some of the program's own
        Assert.True((ulong)second.Space.Given <= second.Dirty, $"{second.Space.Given} pages were given to the store for {second.Dirty}");
        var third = TestCapture.Take(target, second, TrackerKind.Uffd);
        Assert.True(third.Proof.Continuous, third.Proof.Reason);
        Assert.InRange(third.Dirty, 0UL, 60UL);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void An_increment_that_ends_between_its_rounds_costs_no_page(int rounds)
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TrackedTarget(out var first);
        target.Ask("fill a 100 20");
        TestCapture.Abandon(target, first, rounds, () => target.Ask("fill a 10 5"));
        var second = TestCapture.Take(target, first, TrackerKind.Uffd); // the witness knows what must be there
        Assert.False(second.Proof.Continuous);
        Assert.Contains("reset the dirty state", second.Proof.Reason);
        Assert.Equal(0UL, second.Kept);
    }

    [Fact]
    public void After_exec_between_the_rounds_of_an_increment_nothing_is_kept()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TrackedTarget(out var first);
        var before = 0;
        var capture = TestCapture.Take(target, first, TrackerKind.Uffd, meanwhile: () =>
        {
            if (before++ == 2) target.Ask("exec"); // behind the second arming
        }, rounds: 2);
        Assert.False(capture.Proof.Continuous);
        Assert.Contains("execve", capture.Proof.Reason);
        Assert.Equal(0UL, capture.Kept);
    }

    [Fact]
    public void What_the_rounds_of_an_increment_saved_and_is_unmapped_since_is_not_in_the_image()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TrackedTarget(out var first);
        target.Ask("map b 200");
        var before = 0;
        var capture = TestCapture.Take(target, first, TrackerKind.Uffd, o => o with { BufferBytes = 1 << 20 }, meanwhile: () =>
        {
            // Given to the store by the first round; written in the second, and in the third before it could be read: no round knows it any more.
            if (before is 2 or 4) target.Ask("fill b 0 200");
            if (before == 5) target.Ask("unmap b");
            before++;
        }, rounds: 3); // the witness knows what may be there
        Assert.True(capture.Proof.Continuous, capture.Proof.Reason);
        Assert.True(capture.Space.Given >= 200);
    }

    [Fact]
    public void Shared_memory_that_came_to_lie_where_private_memory_was_is_not_filled_by_the_first_round()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        var before = target.Ask("map a 1024");
        target.Ask("fill a 0 1024");
        string? after = null;
        var capture = TestCapture.Take(target, null, TrackerKind.Uffd, meanwhile: () =>
        {
            if (after is not null) return;
            target.Ask("unmap a");
            after = target.Ask("map a 1024 holes");
        });
        Assert.Equal(before, after); // the same address
        var first = VirtualPage.Of(ulong.Parse(after!.Split(' ')[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture)).Number;
        Assert.DoesNotContain(capture.Space.Pages.Keys, page => page - first < 1024); // all of it still is a hole
    }

    [Fact]
    public void Between_the_rounds_of_a_capture_no_other_gets_hold_of_the_target()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        target.Ask("map a 300");
        target.Ask("fill a 0 300");
        var identity = TargetIdentity.Read(target.Pid);
        var record = ContinuityPlace.Own(ThisProcess.EffectiveUser(), identity.Uid).RecordOf(identity.Pid, identity.StartTimeTicks);
        var looks = 0;
        var capture = TestCapture.Take(target, null, TrackerKind.Uffd, meanwhile: () =>
        {
            using var file = RawFile.Open(record, RawOpen.ReadWrite);
            Assert.False(FileCalls.TryLock(file, shared: false, record));
            looks++;
        });
        Assert.Equal(2, looks);
        Assert.True(capture.Kept > 200);
        using var free = RawFile.Open(record, RawOpen.ReadWrite);
        Assert.True(FileCalls.TryLock(free, shared: false, record));
    }

    [Fact]
    public void Another_process_with_the_same_pid_is_not_taken_for_it()
    {
        using var target = TrackedTarget(out var first);
        first.Process.StartTimeTicks--; // as if the parent had been captured from an earlier owner of the pid
        var second = TestCapture.Take(target, first, Best);
        Assert.False(second.Proof.Continuous);
        Assert.Contains("another process", second.Proof.Reason);
        Assert.Equal(0UL, second.Kept);
    }

    [Fact]
    public void A_capture_into_another_store_breaks_the_chain_once()
    {
        using var target = TrackedTarget(out var first);
        target.Ask("fill a 5 1");
        TestCapture.Take(target, null, Best, store: Guid.NewGuid()); // resets the state: page 5 is clean now
        var second = TestCapture.Take(target, first, Best);
        Assert.False(second.Proof.Continuous);
        Assert.Contains("somebody reset", second.Proof.Reason);
        Assert.Equal(0UL, second.Kept);
        var third = TestCapture.Take(target, second, Best);
        Assert.True(third.Proof.Continuous, third.Proof.Reason);
    }

    [Fact]
    public void A_capture_that_came_to_nothing_breaks_the_chain()
    {
        using var target = TrackedTarget(out var first);
        target.Ask("fill a 5 1");
        TestCapture.Take(target, first, Best); // never committed: the next one still has the first as its parent
        var second = TestCapture.Take(target, first, Best);
        Assert.False(second.Proof.Continuous);
        Assert.Equal(0UL, second.Kept);
    }

    [Fact]
    public void A_lost_generation_record_breaks_the_chain()
    {
        using var target = TrackedTarget(out var first);
        foreach (var place in Crstore.Capture.Tracking.ContinuityPlace.For(Crstore.Linux.Files.FileStatus.Of("/proc/self").Uid))
            File.Delete(place.RecordOf(target.Pid, first.Process.StartTimeTicks));
        var second = TestCapture.Take(target, first, Best);
        Assert.False(second.Proof.Continuous);
        Assert.Equal(0UL, second.Kept);
    }

    [Fact]
    public void The_trackers_lies_are_noticed()
    {
        using var target = TrackedTarget(out var first);
        // The parent has other content for every page than the target ever had: as if all writes had gone unseen.
        var page = new byte[VirtualPage.Size];
        page.AsSpan().Fill(1);
        foreach (var number in first.Space.Pages.Keys.ToArray()) first.Space.SetContent(new VirtualPage(number), page);
        var second = TestCapture.Take(target, first, Best, o => o, check: false);
        Assert.True(second.Proof.Continuous, second.Proof.Reason);
        Assert.True(second.Sampled >= 16);
        Assert.Equal(second.Sampled, second.Lies.Count);
    }

    [Fact]
    public void A_distrusted_tracker_is_not_used()
    {
        using var target = TrackedTarget(out var first);
        var second = TestCapture.Take(target, first, Best, distrusted: new HashSet<TrackerKind> { TrackerKind.Uffd, TrackerKind.SoftDirty });
        Assert.Equal(TrackerKind.Hash, second.Proof.Tracker);
        Assert.Equal(0UL, second.Kept);
        Assert.Contains("calling a changed page clean", second.Proof.Reason);
    }

    [Fact]
    public void Reading_everything_after_a_lie_believes_nothing()
    {
        using var target = TrackedTarget(out var first);
        var second = TestCapture.Take(target, first, Best, readEverything: true);
        Assert.Equal(0UL, second.Kept);
        Assert.False(second.Proof.Continuous);
    }

    [Fact]
    public void A_target_with_a_userfaultfd_of_its_own_is_not_tracked_by_ours()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TrapTests.Started();
        target.Ask("map a 50");
        Assert.StartsWith("uffd", target.Ask("uffd"));
        var capture = TestCapture.Take(target, null, Best);
        Assert.NotEqual(TrackerKind.Uffd, capture.Proof.Tracker);
        Assert.Contains("userfaultfd of its own", capture.Proof.Reason);
        Assert.Throws<TargetException>(() => TestCapture.Take(target, null, TrackerKind.Uffd));
    }

    [Fact]
    public void Closing_all_its_fds_ends_the_tracking_and_loses_nothing()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TargetProcess.Python("""
            import os, sys
            data = bytearray(400000)
            print("ready", flush=True)
            for line in sys.stdin:
                os.closerange(3, 4096)
                data[5000] = 7
                print("done", flush=True)
            """);
        target.Expect("ready");
        var first = TestCapture.Take(target, null, TrackerKind.Uffd);
        Assert.InRange(first.Proof.UffdFd, 900, 1 << 20);
        target.Ask("close");
        var second = TestCapture.Take(target, first, TrackerKind.Uffd);
        Assert.Equal(0UL, second.Kept);
        var third = TestCapture.Take(target, second, TrackerKind.Uffd);
        Assert.True(third.Kept > 0);
    }

    [Fact]
    public void A_tracker_that_does_not_work_here_is_refused_by_name()
    {
        Requires.That(!KernelProbes.Current.SoftDirty || !KernelProbes.Current.UffdWriteProtect, "a tracker that does not work");
        using var target = TrapTests.Started();
        var missing = KernelProbes.Current.SoftDirty ? TrackerKind.Uffd : TrackerKind.SoftDirty;
        Assert.Throws<EnvironmentException>(() => TestCapture.Take(target, null, missing));
    }

    [Fact]
    public void A_target_with_asynchronous_io_is_read_in_full()
    {
        using var target = TargetProcess.Python("""
            import ctypes, sys
            libc = ctypes.CDLL(None, use_errno=True)
            print("ready", flush=True)
            for line in sys.stdin:
                context = ctypes.c_ulong(0)
                print("io_setup", libc.syscall(206, 4, ctypes.byref(context)), flush=True)
            """);
        target.Expect("ready");
        Assert.NotEqual(TrackerKind.Hash, TestCapture.Take(target, null, Best).Proof.Tracker);
        Assert.Equal("io_setup 0", target.Ask("setup"));
        var capture = TestCapture.Take(target, null, Best);
        Assert.Equal(TrackerKind.Hash, capture.Proof.Tracker);
        Assert.Contains("io_setup", capture.Proof.Reason);
    }

    [Theory, InlineData("/dev/nvidia0"), InlineData("/dev/kfd"), InlineData("/dev/dri/renderD128"), InlineData("anon_inode:[io_uring]")]
    public void An_fd_that_pins_memory_is_known(string link) => Assert.True(MemoryPins.IsPinning(link));

    [Fact]
    public void A_file_of_a_like_name_pins_nothing() => Assert.False(MemoryPins.IsPinning("/home/dev/dri/file"));

    [Fact]
    public void Sweeping_takes_the_markers_of_earlier_boots_and_leaves_the_others()
    {
        using var directory = new TempDir("crstore-sweep-");
        var place = new ContinuityPlace(directory.Path, 0);
        File.WriteAllText(place.MarkerOf(1, "earlier"), "");
        File.WriteAllText(place.MarkerOf(2, "now"), "");
        File.WriteAllText(place.RecordOf(int.MaxValue, 4), "its process is gone");
        File.WriteAllText(place.RecordOf(Environment.ProcessId, 5), "its process is there");
        place.Sweep("now");
        Assert.Equal(new[] { place.MarkerOf(2, "now"), place.RecordOf(Environment.ProcessId, 5) }.Order(StringComparer.Ordinal), Directory.GetFiles(directory.Path).Order(StringComparer.Ordinal));
    }

    private static TargetProcess TrackedTarget(out TestCapture first)
    {
        if (!KernelProbes.Current.UffdWriteProtect) Trackers.Require(TrackerKind.SoftDirty);
        var target = TrapTests.Started();
        target.Ask("map a 300");
        first = TestCapture.Take(target, null, Best);
        return target;
    }
}
