using System.Buffers.Binary;
using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

/// <summary>The freezing thread has short time slices while the target is frozen, and only then; the target has none.</summary>
public sealed class TimeSliceTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_freezing_thread_has_short_time_slices_up_to_the_thaw(bool refused)
    {
        using var target = TargetProcess.Start("waiter");
        target.Expect("ready");
        using var thread = new PtraceThread();
        thread.Run(() =>
        {
            Assert.True(TimeSlice.TrySet(TimeSlice.DefaultNs));
            var (before, nice, theirs) = (Slice(0), Niceness.Of(0), Slice(target.Pid));
            Assert.True(TimeSlice.TrySet(TimeSlice.ShortestNs));
            Requires.That(Slice(0) == TimeSlice.ShortestNs, "time slices that can be set (Linux 6.12)");
            Assert.True(TimeSlice.TrySet(TimeSlice.DefaultNs));
            Assert.Equal(before, Slice(0));
            if (refused)
            {
                Assert.ThrowsAny<Exception>(() => FrozenTree.Freeze(Environment.ProcessId, tree: false, new FreezeOptions())); // oneself
            }
            else
            {
                using var frozen = FrozenTree.Freeze(target.Pid, tree: false, new FreezeOptions());
                Assert.Equal(TimeSlice.ShortestNs, Slice(0));
                Assert.Equal(theirs, Slice(target.Pid));
            }

            Assert.Equal((before, nice), (Slice(0), Niceness.Of(0)));
        });
    }

    private static ulong Slice(int tid) => BinaryPrimitives.ReadUInt64LittleEndian(SchedulingAttributes.Get(tid).AsSpan(24));
}
