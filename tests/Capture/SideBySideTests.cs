using System.Collections.Concurrent;
using Crstore.Capture;
using Xunit;

namespace Crstore.Tests.Capture;

public sealed class SideBySideTests
{
    private static readonly string[] Items = [.. Enumerable.Range(0, 20).Select(i => $"{i}")];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(50)]
    public void Each_item_has_its_turn_once(int threads)
    {
        var done = new ConcurrentBag<string>();
        SideBySide.ForEach(Items, threads, done.Add);
        Assert.Equal(Items.Order(), done.Order());
    }

    [Fact]
    public void Two_are_under_way_at_a_time()
    {
        using var both = new Barrier(2);
        SideBySide.ForEach(Items, 2, _ => Assert.True(both.SignalAndWait(TimeSpan.FromMinutes(5))));
    }

    [Fact]
    public void An_error_is_told_when_nobody_is_at_work_any_more()
    {
        using var both = new Barrier(2);
        using var failed = new ManualResetEventSlim();
        var over = false;
        var e = Assert.Throws<InvalidOperationException>(() => SideBySide.ForEach(Items[..2], 2, item =>
        {
            Assert.True(both.SignalAndWait(TimeSpan.FromMinutes(5)));
            if (item == "0")
            {
                failed.Set();
                throw new InvalidOperationException("this one");
            }

            failed.Wait(TestContext.Current.CancellationToken);
            Thread.Sleep(50); // long enough to be left behind
            over = true;
        }));
        Assert.Equal("this one", e.Message);
        Assert.True(over);
    }
}
