using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.Writing;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>What captures of many gigabytes do differently, made to happen with little.</summary>
public sealed class LargeCaptureTests
{
    [Fact]
    public void A_capture_whose_addresses_lie_in_a_file_is_stored_and_found_again_like_any_other()
    {
        const int Different = HashLog.PieceSize + 300, Again = HashLog.PieceSize + 100;
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = 100, AddressesInMemory = 0, IndexFileEntries = 700 };
        var memory = Memory.Random(9, Different);
        memory.Fill(9, Different, Again); // the same again elsewhere: all but the last are found in the file
        Assert.Equal((ulong)Different, temp.Capture(memory, "one").Pages.Fresh);
        using var store = temp.Open();
        Assert.Empty(Directory.EnumerateFiles(store.Paths.Incoming));
        using (var db = RocksDb.Open(store.Paths.Database, RocksMode.ReadOnly))
            Assert.Equal((Different + 699) / 700, db.LiveFiles().Count(f => f.Family == ColumnFamily.Index));

        var second = temp.Capture(memory, "two");
        Assert.Equal(0UL, second.Pages.Fresh); // each is in the index
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(second.Crid));
        memory.AssertEquals(image);
    }
}
