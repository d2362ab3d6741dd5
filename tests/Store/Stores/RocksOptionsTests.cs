using Crstore.Store.Native;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class RocksOptionsTests
{
    [Theory]
    [InlineData(0, 1)]  // the caller's own: a small store is opened without starting any
    [InlineData(31, 1)]
    [InlineData(32, 2)]
    [InlineData(276, 8)]
    [InlineData(int.MaxValue, 8)]
    public void Tables_are_opened_by_no_more_threads_than_are_of_use(int tables, int threads) => Assert.Equal(threads, RocksOptions.OpeningThreads(tables));
}
