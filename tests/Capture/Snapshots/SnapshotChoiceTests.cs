using Crstore.Capture;
using Crstore.Capture.Snapshots;
using Crstore.Tests.Capture.Freezing;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Snapshots;

/// <summary>When a snapshot is made, and when it is given up for want of memory.</summary>
public sealed class SnapshotChoiceTests
{
    private const long MiB = 1 << 20;
    private static readonly MemoryRoom Ample = new(8192 * MiB, 16384 * MiB, long.MaxValue, 0);

    [Theory]
    [InlineData(SnapshotPolicy.Never, 1024, 1024, false)]
    [InlineData(SnapshotPolicy.Always, 1, 1024, true)]
    [InlineData(SnapshotPolicy.Auto, 1024, 1024, true)]
    [InlineData(SnapshotPolicy.Auto, 300, 1024, false)] // copied in less time than the page tables of a GiB
    [InlineData(SnapshotPolicy.Auto, 32, 32, false)]
    public void It_is_made_where_copying_would_take_longer(SnapshotPolicy policy, long copied, long populated, bool expected) =>
        Assert.Equal(expected, SnapshotChoice.Pays(policy, copied * MiB, populated * MiB));

    [Fact]
    public void It_needs_room_for_page_tables_and_for_what_is_written_meanwhile()
    {
        Assert.Equal("", MemoryRoom.WhyTooLittle(Ample, 1024 * MiB));
        Assert.NotEqual("", MemoryRoom.WhyTooLittle(Ample with { FreeBytes = 600 * MiB }, 1024 * MiB));
        Assert.NotEqual("", MemoryRoom.WhyTooLittle(Ample with { CommitBytes = 1000 * MiB }, 1024 * MiB));
    }

    [Fact]
    public void The_stall_time_is_that_of_all_tasks_together()
    {
        Assert.Equal(4711, MemoryRoom.StallOf("some avg10=0.00 avg60=0.00 avg300=0.00 total=99999\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4711\n"));
        Assert.Equal(0, MemoryRoom.StallOf(null));
    }

    [Fact]
    public void What_is_free_is_that_of_the_machine_or_less()
    {
        var room = MemoryRoom.Read(Environment.ProcessId);
        Assert.InRange(room.FreeBytes, 1, room.TotalBytes);
        Assert.InRange(room.KeptBytes, 1, room.TotalBytes);
        // Whether memory is short is the machine's affair.
        Assert.True((room with { FreeBytes = room.KeptBytes - 1 }).IsShort);
        Assert.False((room with { FreeBytes = room.KeptBytes }).IsShort);
    }

    [Theory]
    [InlineData("short")]
    [InlineData("stalled")]
    public void The_snapshot_is_ended_when_memory_runs_out(string how)
    {
        using var sleeper = TargetProcess.Start("fork_watcher", "1");
        using var snapshot = new ProcessSnapshot(sleeper.Pid); // any process will do
        long looks = 0;
        using (var watch = new MemoryWatch([(sleeper.Pid, snapshot)], _ => Interlocked.Increment(ref looks) is var n && how == "short"
            ? Ample with { FreeBytes = n < 3 ? Ample.FreeBytes : 100 * MiB } : Ample with { StalledUs = n * 1_000_000 }))
        {
            Assert.Contains(Frozen.WaitForState(sleeper.Pid, "Z-"), "Z-");
            Assert.NotEqual("", watch.Reason);
        }
    }

    [Fact]
    public void As_long_as_there_is_memory_it_lives()
    {
        using var sleeper = TargetProcess.Start("fork_watcher", "1");
        var snapshot = new ProcessSnapshot(sleeper.Pid);
        var looks = new CountdownEvent(30);
        using var watch = new MemoryWatch([(sleeper.Pid, snapshot)], _ =>
        {
            if (!looks.IsSet) looks.Signal();
            return Ample;
        });
        Assert.True(looks.Wait(Patience.Limit));
        Assert.Equal("", watch.Reason);
        Assert.False(sleeper.HasExited);
    }
}
