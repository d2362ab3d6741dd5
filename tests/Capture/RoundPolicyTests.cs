using Crstore.Capture;
using Xunit;

namespace Crstore.Tests.Capture;

/// <summary>When another round is worth its freeze, and when a target is given up.</summary>
public sealed class RoundPolicyTests
{
    private const long MiB = 1 << 20;
    private const long Walked = 1024 * MiB;
    private static readonly TimeSpan Soon = TimeSpan.FromMilliseconds(100);

    [Theory]
    [InlineData(PreCopyPolicy.Never, 1000, false, false)]
    [InlineData(PreCopyPolicy.Always, 0, false, true)]
    [InlineData(PreCopyPolicy.Auto, 10, false, false)] // 1 % of a GiB is copied in less time than a second freeze takes
    [InlineData(PreCopyPolicy.Auto, 100, false, true)]
    [InlineData(PreCopyPolicy.Auto, 60, true, false)]
    [InlineData(PreCopyPolicy.Auto, 64, true, true)]
    public void The_first_round_is_for_those_with_much_to_copy(PreCopyPolicy policy, long mib, bool isBase, bool expected) =>
        Assert.Equal(expected, New(policy).IsWorthAnother(mib * MiB, Walked, isBase, Soon));

    [Fact]
    public void A_large_process_with_little_to_copy_is_not_walked_over_twice()
    {
        Assert.True(New().IsWorthAnother(100 * MiB, Walked, false, Soon));
        Assert.False(New().IsWorthAnother(100 * MiB, 64 * Walked, false, Soon));
    }

    [Fact]
    public void Rounds_go_on_while_the_rest_is_a_quarter_and_felt()
    {
        var policy = New(PreCopyPolicy.Auto, maxRounds: 9);
        policy.Begin(800 * MiB, isBase: false);
        Assert.True(policy.IsWorthAnother(200 * MiB, Walked, false, Soon));
        Assert.Equal(0, policy.GivenUpBytes);
        policy.Begin(200 * MiB, isBase: false);
        Assert.False(policy.IsWorthAnother(100 * MiB, Walked, false, Soon)); // does not converge
        Assert.Equal(200 * MiB, policy.GivenUpBytes); // and there will be as much again
        Assert.False(policy.IsWorthAnother(20 * MiB, Walked, false, Soon)); // is copied at once
        Assert.Equal(0, policy.GivenUpBytes);
        Assert.True(policy.IsWorthAnother(49 * MiB, Walked, false, Soon));
    }

    [Fact]
    public void Behind_a_base_which_takes_seconds_the_rate_of_writing_counts()
    {
        var policy = New(PreCopyPolicy.Auto, maxRounds: 9);
        policy.Begin(1000 * MiB, isBase: true);
        Assert.True(policy.IsWorthAnother(900 * MiB, Walked, false, TimeSpan.FromSeconds(3)));
        Assert.False(policy.IsWorthAnother(900 * MiB, Walked, false, TimeSpan.FromSeconds(1)));
        policy.Begin(900 * MiB, isBase: false);
        Assert.False(policy.IsWorthAnother(900 * MiB, Walked, false, TimeSpan.FromSeconds(3))); // a writer as fast as that is never caught up with
    }

    [Theory]
    [InlineData(PreCopyPolicy.Auto)]
    [InlineData(PreCopyPolicy.Always)]
    public void There_are_never_more_rounds_than_allowed(PreCopyPolicy kind)
    {
        var policy = New(kind, maxRounds: 2);
        policy.Begin(1000 * MiB, isBase: false);
        Assert.True(policy.IsWorthAnother(200 * MiB, Walked, false, Soon));
        policy.Begin(200 * MiB, isBase: false);
        Assert.False(policy.IsWorthAnother(45 * MiB, Walked, false, Soon));
    }

    [Theory]
    [InlineData(800, 30, false, false, true)]   // all of it again, while it is read
    [InlineData(800, 200, false, false, false)] // the look came late: the round might have been done by then
    [InlineData(700, 30, false, false, false)]  // a round saves a third of the copying
    [InlineData(60, 60, false, true, false)]    // 1000 MiB/s: a round follows
    [InlineData(70, 60, false, true, true)]     // and here it doesn't: a snapshot instead
    [InlineData(70, 60, false, false, false)]   // which may not be made
    [InlineData(20, 60, true, true, false)]
    [InlineData(40, 60, true, true, true)]      // of a base, which takes seconds
    [InlineData(0, 15, true, true, false)]
    public void A_first_round_for_nothing_is_left_out(long writtenMib, int ms, bool isBase, bool maySnapshot, bool expected)
    {
        var policy = New();
        Assert.Equal(expected, policy.IsHopeless(Walked, writtenMib * MiB, TimeSpan.FromMilliseconds(ms), isBase, maySnapshot));
        Assert.Equal(expected ? Walked : 0, policy.GivenUpBytes); // there will be as much to copy
    }

    [Theory]
    [InlineData(0, 3, false, true)]
    [InlineData(0, 10, true, true)]
    [InlineData(10, 4, false, true)]  // 1 % by now, 16 % at the end
    [InlineData(20, 4, false, true)]
    [InlineData(30, 4, false, false)] // 47 %, or all, if it gets faster
    [InlineData(800, 4, false, false)]
    [InlineData(30, 60, false, true)] // it came late
    [InlineData(10, 10, true, false)] // a snapshot, and no round, if it is as fast as that
    public void A_slow_writer_is_seen_at_the_first_look(long writtenMib, int ms, bool maySnapshot, bool expected) =>
        Assert.Equal(expected, RoundPolicy.IsPlain(Walked, writtenMib * MiB, TimeSpan.FromMilliseconds(ms), RoundPolicy.WatchTime(Walked, maySnapshot).Whole, maySnapshot));

    [Theory]
    [InlineData(800, 200, true)]
    [InlineData(700, 200, false)]
    [InlineData(800, 3000, false)] // in such a time a slow one does as well, of which a round saves most
    public void What_was_written_everywhere_before_is_believed_to_be_so_by_a_late_look_too(long writtenMib, int ms, bool expected) =>
        Assert.Equal(expected, New().IsHopeless(Walked, writtenMib * MiB, TimeSpan.FromMilliseconds(ms), isBase: false, maySnapshot: false, wasHot: true));

    private static RoundPolicy New(PreCopyPolicy policy = PreCopyPolicy.Auto, int maxRounds = 4) => new(new CaptureOptions { Pid = 1, PreCopy = policy, MaxRounds = maxRounds });
}
