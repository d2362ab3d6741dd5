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
        loan.Take();
        loan.Take();
        Assert.NotSame(first, windows.Next().Memory);
        var returned = false;
        var store = Task.Run(() =>
        {
            loan.Return();
            Thread.Yield();
            Volatile.Write(ref returned, true);
            loan.Return();
        }, TestContext.Current.CancellationToken);
        Assert.Same(first, windows.Next().Memory);
        Assert.True(Volatile.Read(ref returned));
        await store;
    }
}
