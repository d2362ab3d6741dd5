using Crstore.Capture;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture;

/// <summary>There is one time without collections for a whole process, whatever captures there are in it.</summary>
public sealed class NoCollectionsTests
{
    [Fact]
    public void Several_begin_and_end_it_at_once_and_none_fails()
    {
        var (begun, over) = (0, false);
        var failures = new Exception?[4];
        var threads = Enumerable.Range(0, failures.Length).Select(i => new Thread(() => failures[i] = Record.Exception(i == 0 ? Begin : End))).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
        Assert.Equal(new Exception?[failures.Length], failures);
        Assert.True(begun > 0);

        void Begin()
        {
            // A capture of another test may have it for all of the 600 times.
            for (var i = 0; i < 600; i++)
                if (NoCollections.TryBegin(1 << 20)) begun++;
            Patience.Until(() => begun > 0 || (NoCollections.TryBegin(1 << 20) && ++begun > 0), "the others to be done with it", pauseMs: 1);
            Volatile.Write(ref over, true);
            NoCollections.End();
        }

        void End()
        {
            while (!Volatile.Read(ref over)) NoCollections.End();
        }
    }
}
