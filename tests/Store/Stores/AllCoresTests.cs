using Crstore.Store;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public class AllCoresTests
{
    [Fact]
    public void Each_number_is_done_once_also_in_loops_inside_of_loops()
    {
        var done = new int[40, 50];
        AllCores.For(0, 40, i => AllCores.For(0, 50, j => Interlocked.Increment(ref done[i, j])));
        Assert.All(done.Cast<int>(), times => Assert.Equal(1, times));
    }

    [Fact]
    public void An_error_is_the_one_of_the_body_and_comes_when_nobody_is_in_it_any_more()
    {
        var inside = 0;
        var error = Assert.Throws<InvalidDataException>(() => AllCores.For(3, 1000, i =>
        {
            Interlocked.Increment(ref inside);
            try
            {
                Thread.Sleep(1);
                if (i == 20) throw new InvalidDataException("twenty");
            }
            finally
            {
                Interlocked.Decrement(ref inside);
            }
        }));
        Assert.Equal("twenty", error.Message);
        Assert.Equal(0, Volatile.Read(ref inside));
    }

    [Fact]
    public void No_numbers_are_no_work() => AllCores.For(5, 5, _ => Assert.Fail("called"));

    /// <summary>Frames that wait in the pool to be compressed kept the loops of the thread that feeds it from being helped.</summary>
    [Fact]
    public void Who_helps_does_not_come_from_the_pool()
    {
        Assert.SkipUnless(AllCores.Threads > 1, "one processor");
        var pooled = new bool[2];
        using var both = new Barrier(2);
        var caller = new Thread(() => AllCores.For(0, 2, i =>
        {
            both.SignalAndWait(); // neither thread does both
            pooled[i] = Thread.CurrentThread.IsThreadPoolThread;
        }));
        caller.Start();
        caller.Join();
        Assert.Equal([false, false], pooled);
    }
}
