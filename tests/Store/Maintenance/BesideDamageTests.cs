using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Native;
using Crstore.Tests.Store.Stores;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>Damage in one place is no obstacle to work on another, and is told.</summary>
public sealed class BesideDamageTests
{
    private static readonly GcOptions Now = new(false, TimeSpan.FromSeconds(30));

    [Fact]
    public void A_damaged_series_record_is_told_and_blocks_no_forget()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 20), "bad");
        var a = temp.Capture(Memory.Random(2, 20), "good");
        var b = temp.Capture(Memory.Random(3, 20), "good");
        StoreSurgery.Edit(temp, (batch, _) => batch.Put(ColumnFamily.Series, Keys.Series("bad"), [1, 2, 3, 4, 5, 6]));
        using var store = temp.Open();
        var told = new List<string>();
        Assert.Equal([new Crid(b.Crid)], store.Forget([new Crid(b.Crid)], dryRun: false, told.Add).Forgotten);
        Assert.Contains("\"bad\"", Assert.Single(told));
        Assert.Equal(a.Crid, temp.Capture(Memory.Random(3, 20), "good").ParentCrid);

        told.Clear();
        using var reader = store.OpenReader();
        Assert.Equal(["bad", "good"], reader.Series(told.Add).Select(s => s.Name));
        Assert.Contains("\"bad\"", Assert.Single(told));
        Assert.Throws<StoreDamagedException>(() => reader.Series()); // never silently
    }

    [Fact]
    public void A_damaged_header_is_told_and_the_others_are_listed()
    {
        using var temp = new TempStore();
        var a = temp.Capture(Memory.Random(1, 20), "bad");
        var b = temp.Capture(Memory.Random(2, 20), "good");
        StoreSurgery.Edit(temp, (batch, _) => batch.Put(ColumnFamily.Manifests, Keys.Crid(new Crid(a.Crid)), [1, 2, 3, 4, 5, 6, 7]));
        using var store = temp.Open();
        using var reader = store.OpenReader();
        foreach (var list in new Func<Action<string>?, IEnumerable<ulong>>[]
        {
            told => reader.Headers("good", told).Select(h => h.Crid).ToList(),
            told => reader.Series(told).Select(s => s.Latest.Value),
            told => reader.Stats(null, default, told).Series.Select(s => s.Latest.Value),
        })
        {
            var told = new List<string>();
            Assert.Equal([b.Crid], list(told.Add));
            Assert.Contains($"CRID {a.Crid}", Assert.Single(told));
            Assert.Throws<StoreDamagedException>(() => list(null)); // never silently
        }
    }

    [Fact]
    public void A_missing_root_stops_gc_until_its_checkpoint_is_forgotten()
    {
        using var temp = new TempStore();
        var a = temp.Capture(Memory.Random(1, 1000), "a");
        var b = temp.Capture(Memory.Random(2, 100), "b");
        using var store = temp.Open();
        store.Forget([new Crid(b.Crid)], dryRun: false);
        StoreSurgery.Edit(temp, (batch, _) => batch.Delete(ColumnFamily.Maps, Keys.Root(new Crid(a.Crid), new SpaceId(0))));
        var frames = StoreSurgery.AllKeys(temp, ColumnFamily.Chunks);
        var error = Assert.Throws<StoreDamagedException>(() => store.CollectGarbage(Now, null, default));
        Assert.Contains($"CRID {a.Crid}", error.Message);
        Assert.Contains("root is missing", error.Message);
        Assert.Equal(frames, StoreSurgery.AllKeys(temp, ColumnFamily.Chunks));

        store.Forget([new Crid(a.Crid)], dryRun: false);
        Assert.Equal(1100UL, store.CollectGarbage(Now, null, default).ChunksFreed);
    }
}
