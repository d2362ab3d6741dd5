using Crstore.Capture;
using Xunit;

namespace Crstore.Tests.Capture;

/// <summary>There is one time without collections for a whole process, whatever captures there are in it.</summary>
public sealed class NoCollectionsTests
{
    [Fact]
    public void Several_begin_and_end_it_at_once_and_none_fails()
    {
        var begun = 0;
        void Work()
        {
            for (var i = 0; i < 400; i++)
            {
                if (NoCollections.TryBegin(1 << 20)) Interlocked.Increment(ref begun);
                NoCollections.End();
            }
        }

        Exception? failure = null;
        var threads = Enumerable.Range(0, 4).Select(_ => new Thread(() => failure = Record.Exception(Work) ?? failure)).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
        Assert.Null(failure);
        Assert.True(begun > 0);
    }
}
