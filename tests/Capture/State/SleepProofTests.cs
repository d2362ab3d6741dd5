using Crstore.Capture.State;
using Crstore.Linux.Proc;
using Xunit;

namespace Crstore.Tests.Capture.State;

/// <summary>What a thread's run times and switches prove about its sleep.</summary>
public class SleepProofTests
{
    private const long FellAsleep = 1_000_000_000, FreezeCame = 5_000_000_000, Stopped = FreezeCame + 60_000, OnProcessor = 20_000; // ns
    private const long Least = 7_000_000, Most = Least + 30_000; // of the processors' clocks
    private static readonly SchedLines Before = new(FellAsleep, 300_000, 12);

    private static SchedLines At(long leftProcessor, long ranSince, ulong switches) => new(leftProcessor, Before.RunNs + ranSince, Before.Switches + switches);

    private static long? AsleepSince(SchedLines frozen) => SleepProof.AsleepSince(Before, frozen, Most, Least, FreezeCame + Least);

    [Fact]
    public void A_thread_that_was_woken_by_the_freeze_has_slept_since_before()
    {
        var slept = FreezeCame + Least - (FellAsleep + Most);
        Assert.Equal(FellAsleep + Most + slept / 1024, AsleepSince(At(Stopped, OnProcessor, switches: 1))); // the clocks may differ in their speed
    }

    [Fact]
    public void One_that_slept_again_in_between_has_not() => Assert.Null(AsleepSince(At(Stopped, OnProcessor, switches: 2)));

    // It went on, and was about to sleep again in the same call when it was told to stop: nothing has taken it off the processor in between.
    [Fact]
    public void One_that_was_awake_when_the_freeze_came_has_not() => Assert.Null(AsleepSince(At(Stopped, Stopped - FreezeCame + 1, switches: 1)));

    [Fact]
    public void One_that_has_not_run_since_says_nothing() => Assert.Null(AsleepSince(Before));

    [Fact]
    public void A_clock_that_makes_no_sense_says_nothing()
    {
        Assert.Null(SleepProof.AsleepSince(Before with { LastRunNs = 0 }, At(Stopped, OnProcessor, 1), Most, Least, FreezeCame + Least));
        Assert.Null(SleepProof.AsleepSince(Before with { LastRunNs = FreezeCame + 1 }, At(Stopped, OnProcessor, 1), Most, Least, FreezeCame + Least));
    }

    [Theory]
    [InlineData(7, 1, 0, 5000, 0, true)]
    [InlineData(7, 1, 0, 0xffffffff, 0, false)] // poll without an end
    [InlineData(7, 1, 0, 0, 0, false)]
    [InlineData(35, 0x1000, 0, 0, 0, true)]
    [InlineData(35, 0x1000, 0x2000, 0, 0, false)] // the kernel writes what is left
    [InlineData(230, 1, 0, 0x1000, 0, true)]
    [InlineData(230, 1, 1, 0x1000, 0, false)] // until a date
    [InlineData(230, 2, 0, 0x1000, 0, false)] // of the time on a processor
    [InlineData(230, 0xfffffffa, 0, 0x1000, 0, false)]
    [InlineData(202, 0x1000, 128, 0, 0x2000, true)]
    [InlineData(202, 0x1000, 128, 0, 0, false)]
    [InlineData(202, 0x1000, 137, 0, 0x2000, false)] // FUTEX_WAIT_BITSET: until a date
    [InlineData(232, 3, 0x1000, 1, 5000, true)]
    [InlineData(232, 3, 0x1000, 1, 0xffffffff, false)]
    [InlineData(0, 3, 0x1000, 1, 5000, false)]
    public void Calls_with_a_relative_timeout_are_looked_at(int number, ulong first, ulong second, ulong third, ulong fourth, bool timed) =>
        Assert.Equal(timed, TimedCalls.IsOne(new SyscallLine((ulong)number, [first, second, third, fourth, 0, 0], 0, 0)));
}
