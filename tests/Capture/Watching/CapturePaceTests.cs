using Crstore.Capture.Watching;
using Xunit;

namespace Crstore.Tests.Capture.Watching;

public sealed class CapturePaceTests
{
    [Fact]
    public void Ticks_stay_on_their_grid_however_long_a_capture_takes()
    {
        var pace = new CapturePace(Ms(100), null);
        Assert.Equal(Ms(0), pace.Due);
        pace.Took(Ms(3), Ms(40), Ms(5), onTick: true);
        Assert.Equal(Ms(100), pace.Due);
        pace.Took(Ms(101), Ms(130), Ms(5), onTick: true);
        Assert.Equal(Ms(200), pace.Due);
        Assert.Equal(0, pace.Missed);
    }

    [Fact]
    public void What_passes_during_a_long_capture_is_missed_but_for_the_last_which_is_late()
    {
        var pace = new CapturePace(Ms(100), null);
        pace.Took(Ms(0), Ms(130), Ms(5), onTick: true);
        Assert.Equal((Ms(100), Ms(145), 0L), (pace.NextTick, pace.Due, pace.Missed)); // late; others have their turn before
        pace.Took(Ms(130), Ms(480), Ms(5), onTick: true);
        Assert.Equal((Ms(400), Ms(495), 2L), (pace.NextTick, pace.Due, pace.Missed)); // of 200, 300 and 400 two
        pace.Took(Ms(480), Ms(490), Ms(5), onTick: true);
        Assert.Equal((Ms(500), 2L), (pace.Due, pace.Missed));
    }

    [Fact]
    public void A_share_of_the_time_puts_ticks_off()
    {
        var pace = new CapturePace(Ms(100), 0.02);
        pace.Took(Ms(0), Ms(20), Ms(1), onTick: true);
        Assert.Equal((Ms(100), 0L), (pace.Due, pace.PutOff)); // 50 ms would do
        pace.Took(Ms(100), Ms(120), Ms(9), onTick: true);
        Assert.Equal(Ms(550), pace.Earliest);
        Assert.Equal((Ms(600), 4L, 0L), (pace.Due, pace.PutOff, pace.Missed));
    }

    [Fact]
    public void A_capture_for_another_reason_begins_the_grid_anew()
    {
        var pace = new CapturePace(Ms(1000), null);
        pace.Took(Ms(0), Ms(20), Ms(1), onTick: true);
        pace.Took(Ms(700), Ms(720), Ms(1), onTick: false);
        Assert.Equal((Ms(1700), 0L), (pace.Due, pace.Missed));
    }

    [Fact]
    public void Without_ticks_nothing_is_due_and_the_share_still_holds()
    {
        var pace = new CapturePace(null, 0.5);
        Assert.Null(pace.Due);
        pace.Took(Ms(10), Ms(20), Ms(10), onTick: false);
        Assert.Equal((null, Ms(30)), (pace.Due, pace.Earliest));
    }

    [Fact]
    public void Quantiles_are_right_within_a_percent()
    {
        var times = new FrozenTimes();
        Assert.Equal(TimeSpan.Zero, times.Quantile(0.5));
        for (var i = 1000; i >= 1; i--) times.Add(Ms(i));
        Assert.InRange(times.Quantile(0.5).TotalMilliseconds, 495, 505);
        Assert.InRange(times.Quantile(0.99).TotalMilliseconds, 980, 1000);
        Assert.Equal((1000L, Ms(1000), Ms(1000)), (times.Count, times.Longest, times.Quantile(1)));
    }

    private static TimeSpan Ms(double ms) => TimeSpan.FromMilliseconds(ms);
}
