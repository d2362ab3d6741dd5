using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Native;
using Crstore.Store.Writing;
using Crstore.Tests.Support;
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

    [Fact]
    public void Index_files_are_not_among_the_small_ones_that_housekeeping_merges_with_the_whole_index() =>
        Assert.True((ulong)new StoreOptions("unused").IndexFileEntries * (ContentHash.Size + Keys.LocationSize) > Housekeeping.SmallFileBytes);

    [Fact]
    public void An_index_whose_filter_and_index_blocks_have_many_parts_finds_what_is_there_and_nothing_else()
    {
        const int Entries = 30_000, Batch = 128; // nine parts of the filter
        var random = Seeds.Random();
        var keys = Enumerable.Range(0, Entries).Select(_ => new ContentHash((ulong)random.NextInt64(), (ulong)random.NextInt64(), 0, 0)).Distinct().OrderBy(h => (h.A, h.B)).ToArray();
        using var temp = new TempStore();
        using var store = temp.Open();
        using var db = RocksDb.Open(store.Paths.Database, RocksMode.ReadWrite);
        var path = store.Paths.IncomingFile(new Crid(1), "index", 0);
        Span<byte> key = stackalloc byte[ContentHash.Size], value = stackalloc byte[Keys.LocationSize];
        using (var writer = new RocksSstWriter(path, ColumnFamily.Index))
        {
            for (var i = 0; i < keys.Length; i++)
            {
                keys[i].Write(key);
                Keys.Location(new ChunkLocation(new Crid(1), (uint)i), value);
                writer.Put(key, value);
            }

            writer.Finish();
        }

        db.Ingest(ColumnFamily.Index, [path]);
        Span<byte> asked = new byte[Batch * ContentHash.Size], values = new byte[Batch * Keys.LocationSize];
        Span<bool> found = new bool[Batch];
        for (var round = 0; round < 600; round++)
        {
            var numbers = Enumerable.Range(0, Batch).Select(_ => random.Next(keys.Length)).ToArray();
            for (var q = 0; q < Batch; q++) (keys[numbers[q]] with { D = (ulong)(q % 2) }).Write(asked[(q * ContentHash.Size)..]); // each second one is not there
            db.MultiGet(ColumnFamily.Index, asked, ContentHash.Size, values, Keys.LocationSize, found);
            for (var q = 0; q < Batch; q++)
            {
                Assert.Equal(q % 2 == 0, found[q]);
                if (found[q]) Assert.Equal((uint)numbers[q], Keys.LocationOf(values.Slice(q * Keys.LocationSize, Keys.LocationSize)).Ordinal);
            }
        }
    }
}
