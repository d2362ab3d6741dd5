using Crstore.Capture.Watching;
using Xunit;

namespace Crstore.Tests.Capture.Watching;

public sealed class SpareRuleTests
{
    [Fact]
    public void The_first_one_has_all_processors()
    {
        Assert.False(new SpareRule().Spares(Ms(0), asked: false));
    }

    [Fact]
    public void Captures_that_take_much_of_the_time_leave_one_alone()
    {
        var rule = new SpareRule();
        for (var tick = 0; tick < 1000; tick += 100)
        {
            Assert.Equal(tick > 0, rule.Spares(Ms(tick), asked: false));
            rule.Took(Ms(tick), Ms(tick + 40));
        }
    }

    [Fact]
    public void Rare_ones_have_all_again()
    {
        var rule = new SpareRule();
        rule.Took(Ms(0), Ms(400));
        Assert.True(rule.Spares(Ms(3900), asked: false));
        Assert.False(rule.AreRare(Ms(3900)));
        Assert.False(rule.Spares(Ms(4000), asked: false));
        Assert.True(rule.AreRare(Ms(4000)));
        rule.Took(Ms(4000), Ms(4900)); // this one took longer
        Assert.True(rule.Spares(Ms(8000), asked: false));
    }

    [Fact]
    public void One_that_was_asked_for_has_all_however_soon_it_comes()
    {
        var rule = new SpareRule();
        rule.Took(Ms(0), Ms(400));
        Assert.False(rule.Spares(Ms(420), asked: true));
        rule.Took(Ms(420), Ms(800));
        Assert.True(rule.Spares(Ms(820), asked: false));
    }

    private static TimeSpan Ms(int milliseconds) => TimeSpan.FromMilliseconds(milliseconds);
}
