using Crstore.Store.Native;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class CodeReadAheadTests
{
    [Fact]
    public void Libraries_that_are_loaded_are_read_ahead_once()
    {
        Assert.True(RocksNative.IsPresent);
        var ahead = new CodeReadAhead();
        ahead.Ask();
        Assert.Single(ahead.Asked, path => Path.GetFileName(path).StartsWith("librocksdb.so", StringComparison.Ordinal));
        Assert.All(ahead.Asked, path => Assert.True(File.Exists(path), path)); // no name is cut, nothing that isn't a file
    }
}
