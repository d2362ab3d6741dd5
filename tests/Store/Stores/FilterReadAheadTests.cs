using Crstore.Store.Native;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class FilterReadAheadTests
{
    [Fact]
    public void Filters_are_read_once_and_only_when_there_are_many_probes()
    {
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = 16 }; // its index comes as a file
        temp.Capture(Memory.Random(1, 3000));
        using var store = temp.Open();
        using var db = RocksDb.Open(store.Paths.Database, RocksMode.ReadOnly);
        var size = db.LiveFiles().Where(f => f.Family == ColumnFamily.Index).Sum(f => (long)f.SizeBytes);
        Assert.True(size > 100_000);
        var filters = new FilterReadAhead(db);
        filters.Count(511);
        Assert.Equal(0UL, filters.BytesAsked);
        filters.Count(1);
        Assert.InRange((long)filters.BytesAsked, size / 40, size / 10); // their part of the files, and the files are found
        var asked = filters.BytesAsked;
        filters.Count(1_000_000);
        Assert.Equal(asked, filters.BytesAsked);
    }
}
