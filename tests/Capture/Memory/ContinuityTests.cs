using Crstore.Capture.Memory;
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

    private static TargetProcess TrackedTarget(out TestCapture first)
    {
        if (!KernelProbes.Current.UffdWriteProtect) Trackers.Require(TrackerKind.SoftDirty);
        var target = TrapTests.Started();
        target.Ask("map a 300");
        first = TestCapture.Take(target, null, Best);
        return target;
    }
}
