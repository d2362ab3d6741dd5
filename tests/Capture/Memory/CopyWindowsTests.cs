using Crstore.Capture.Memory;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>Two windows in turn, which the store may go on reading.</summary>
public class CopyWindowsTests
{
    [Fact]
    public async Task A_window_that_is_lent_comes_again_only_when_it_is_returned()
    {
        using var windows = new CopyWindows();
        var (first, loan) = windows.Next();
        loan.Take(); // the store
        var (second, other) = windows.Next();
        var returned = false;
        var store = Task.Run(() =>
        {
            loan.Return();
            Thread.Yield();
            Volatile.Write(ref returned, true);
            loan.Return();
        }, TestContext.Current.CancellationToken);
        var (third, again) = windows.Next();
        var inTime = Volatile.Read(ref returned);
        await store;
        again.Return(); // before anything is asserted: the end waits for all
        other.Return();
        Assert.NotSame(first, second);
        Assert.Same(first, third);
        Assert.True(inTime);
    }

    [Fact]
    public async Task A_window_has_one_user_at_a_time_though_the_store_has_not_been_given_it_yet()
    {
        using var windows = new CopyWindows();
        var users = new int[2];
        var (known, shared) = (new List<object>(), false);
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() =>
        {
            for (var i = 0; i < 40; i++)
            {
                var (memory, loan) = windows.Next();
                int number;
                lock (known)
                {
                    if (!known.Contains(memory)) known.Add(memory);
                    number = known.IndexOf(memory);
                }

                if (Interlocked.Increment(ref users[number]) > 1) Volatile.Write(ref shared, true);
                Thread.Yield();
                Interlocked.Decrement(ref users[number]);
                loan.Return();
            }
        }, TestContext.Current.CancellationToken)));
        Assert.False(shared);
        Assert.Equal(2, known.Count);
    }
}
