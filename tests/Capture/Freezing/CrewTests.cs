using Crstore.Capture.Freezing;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

public sealed class CrewTests
{
    [Fact]
    public void The_end_of_one_work_leaves_the_others_to_the_crew()
    {
        using var crew = new FreezeCrew(1);
        using var held = new ManualResetEventSlim();
        using var began = new ManualResetEventSlim();
        using var done = new ManualResetEventSlim();
        var first = new CrewJob(() =>
        {
            began.Set();
            held.Wait();
        });
        var second = new CrewJob(done.Set);
        var third = new CrewJob(() => Assert.Fail("it was taken back"));
        first.Offer(crew);
        Assert.True(began.Wait(Support.Patience.Limit)); // the only thread is busy
        second.Offer(crew);
        third.Offer(crew);
        crew.End(third);
        held.Set();
        Assert.True(done.Wait(Support.Patience.Limit));
        crew.End(first);
        first.Complete();
        second.Complete();
        third.Withdraw();
        third.Complete();
    }

    [Fact]
    public void The_end_of_a_work_waits_for_the_thread_that_is_at_it()
    {
        using var crew = new FreezeCrew(1);
        using var began = new ManualResetEventSlim();
        var over = false;
        var job = new CrewJob(() =>
        {
            began.Set();
            Thread.Sleep(100);
            Volatile.Write(ref over, true);
        });
        job.Offer(crew);
        Assert.True(began.Wait(Support.Patience.Limit));
        crew.End(job);
        Assert.True(Volatile.Read(ref over));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void A_job_is_done_once_and_its_exception_comes_back(int threads)
    {
        using var crew = new FreezeCrew(threads);
        var times = 0;
        var job = new CrewJob(() => throw new InvalidOperationException($"{Interlocked.Increment(ref times)}"));
        for (var i = 1; i <= 100; i++)
        {
            job.Offer(crew);
            Assert.Equal($"{i}", Assert.Throws<InvalidOperationException>(() => job.Complete()).Message);
            crew.End();
        }
    }
}
