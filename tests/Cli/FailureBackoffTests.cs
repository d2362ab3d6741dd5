using Crstore.Cli.Watching;
using Xunit;

namespace Crstore.Tests.Cli;

public sealed class FailureBackoffTests
{
    [Fact]
    public void The_pause_doubles_with_each_failure_up_to_a_minute()
    {
        var backoff = new FailureBackoff();
        var now = TimeSpan.FromSeconds(1000);
        foreach (var seconds in new[] { 1, 2, 4, 8, 16, 32, 60, 60 })
        {
            backoff.Failed(now);
            Assert.Equal(TimeSpan.FromSeconds(seconds), backoff.Until - now);
        }

        for (var i = 0; i < 100; i++) backoff.Failed(now);
        Assert.Equal((108, now + TimeSpan.FromMinutes(1)), (backoff.InARow, backoff.Until));
    }

    [Fact]
    public void A_success_ends_it()
    {
        var backoff = new FailureBackoff();
        backoff.Failed(TimeSpan.FromSeconds(5));
        backoff.Succeeded();
        Assert.Equal((0, TimeSpan.Zero), (backoff.InARow, backoff.Until));
        backoff.Failed(TimeSpan.FromSeconds(9));
        Assert.Equal(TimeSpan.FromSeconds(10), backoff.Until);
    }
}
