using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Tests.Store.Stores;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>Damage in one place is no obstacle to work on another, and is told.</summary>
public sealed class BesideDamageTests
{
    private static readonly GcOptions Now = new(false, TimeSpan.FromMinutes(10));

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

    [Fact]
    public void A_damaged_frame_without_live_pages_is_freed()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 160);
        var a = temp.Capture(memory);
        var next = memory.Clone();
        for (ulong p = 0; p < 80; p++) next.Remove(p);
        var b = Chain.Increment(temp, memory, next);
        var rotten = new FrameId(new Crid(a.Crid), 2); // of the first half
        Rot(temp, rotten);
        using var store = temp.Open();
        store.Forget([new Crid(a.Crid)], dryRun: false);
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal((5UL, 80UL, 0UL), (result.FramesDeleted, result.ChunksFreed, result.DamagedFrames));
        Assert.DoesNotContain(StoreSurgery.Key(rotten), StoreSurgery.AllKeys(temp, ColumnFamily.Chunks));
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(b));
        next.AssertEquals(image);
    }

    [Fact]
    public void After_gc_met_a_damaged_frame_captures_store_its_pages_again_and_restore()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 160);
        var a = temp.Capture(memory);
        var next = memory.Clone();
        for (ulong p = 0; p < 160; p++)
            if (p % 16 >= 4) next.Remove(p); // four pages of each frame live on
        Chain.Increment(temp, memory, next);
        Rot(temp, new FrameId(new Crid(a.Crid), 2));
        using var store = temp.Open();
        store.Forget([new Crid(a.Crid)], dryRun: false);
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal((9UL, 1UL), (result.FramesRewritten, result.DamagedFrames));
        var c = temp.Capture(next, "again");
        Assert.Equal(4UL, c.Pages.Fresh); // those of the damaged frame; all others are found
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(c.Crid));
        next.AssertEquals(image);
    }

    [Fact]
    public void A_dead_frame_in_a_block_that_cannot_be_read_is_named_and_left_and_the_others_are_freed()
    {
        using var temp = Tables(out var told);
        var memory = Memory.Random(1, 160);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (ulong p = 0; p < 80; p++) next.Remove(p);
        var b = Chain.Increment(temp, memory, next);
        var lost = new FrameId(a, 2);
        StoreSurgery.SpoilBlock(temp, ColumnFamily.Chunks, StoreSurgery.Key(lost));
        using var store = temp.Open();
        store.Forget([a], dryRun: false);
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal((4UL, 64UL, 0UL), (result.FramesDeleted, result.ChunksFreed, result.DamagedFrames));
        Assert.Contains($"gc left {lost} as it is", told[0]);
        AssertReads(store, b, next);
    }

    [Fact]
    public void A_dead_patch_group_in_a_block_that_cannot_be_read_is_named_and_left_and_the_others_are_freed()
    {
        using var temp = Tables(out var told);
        var (a, b, memory) = Patched(temp, 640);
        var last = memory.Clone();
        for (ulong p = 192; p < 320; p++) last.Remove(p); // all of groups 3 and 4
        var c = Chain.Increment(temp, memory, last);
        var lost = new PatchGroupId(b, 3);
        StoreSurgery.SpoilBlock(temp, ColumnFamily.Patches, StoreSurgery.GroupKey(lost));
        using var store = temp.Open();
        store.Forget([a, b], dryRun: false);
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal((8UL + 1, 128UL + 64), (result.FramesDeleted, result.ChunksFreed)); // the anchors' frames, and group 4
        Assert.Contains($"gc left {lost} as it is", told[0]);
        AssertReads(store, c, last);
    }

    [Fact]
    public void Beside_a_forgotten_checkpoint_whose_first_patches_cannot_be_read_gc_frees_the_others()
    {
        using var temp = Tables(out var told);
        var (a, b, memory) = Patched(temp, 640);
        var other = temp.Capture(Memory.Random(2, 32), "other");
        StoreSurgery.SpoilBlock(temp, ColumnFamily.Patches, StoreSurgery.GroupKey(new PatchGroupId(b, 0)));
        using var store = temp.Open();
        var error = Assert.Throws<StoreDamagedException>(() => store.CollectGarbage(Now, null, default));
        Assert.Contains($"{new PatchGroupId(b, 0)}", error.Message + error.Hint);
        store.Forget([b, new Crid(other.Crid)], dryRun: false);
        Assert.Equal(32UL, store.CollectGarbage(Now, null, default).ChunksFreed);
        Assert.Contains(told, t => t.StartsWith($"gc left what there may be of CRID {b} as it is", StringComparison.Ordinal));
        Assert.Equal(b.Value + 2, temp.Capture(memory, "again").Crid); // and captures go on
    }

    [Fact]
    public void Where_it_cannot_be_told_what_hangs_on_a_damaged_frame_captures_find_none_of_it()
    {
        using var temp = Tables(out _);
        var (a, b, memory) = Patched(temp, 640);
        var last = memory.Clone();
        for (ulong p = 0; p < 640; p++)
            if (p is >= 192 and < 256 || p % 16 >= 4) last.Remove(p); // all of group 3; of each other frame of A four anchors live on
        Chain.Increment(temp, memory, last);
        Rot(temp, new FrameId(a, 2));
        StoreSurgery.SpoilBlock(temp, ColumnFamily.Patches, StoreSurgery.GroupKey(new PatchGroupId(b, 3)));
        using var store = temp.Open();
        store.Forget([a, b], dryRun: false);
        Assert.Equal(1UL, store.CollectGarbage(Now, null, default).DamagedFrames);
        var again = temp.Capture(last, "again");
        AssertReads(store, again.Crid, last);
        Assert.Equal((ulong)last.Pages.Count, again.Pages.Fresh);
    }

    [Fact]
    public async Task Beside_damage_in_what_was_committed_meanwhile_gc_frees_nothing_and_the_next_one_goes_on()
    {
        using var temp = Tables(out _);
        var memory = Memory.Random(1, 640);
        var a = new Crid(temp.Capture(memory).Crid);
        var (torn, last) = (memory.Clone(), Memory.Random(2, 640));
        for (ulong p = 0; p < 640; p++) torn.Touch(p, new Random((int)p), places: 10);
        using var store = temp.Open();
        Task<GcResult> gc;
        PatchGroupId lost;
        using (store.BeginCapture("other", full: false)) // gc waits for this one, too
        {
            using (var writer = store.BeginCapture("s", full: false))
            {
                var space = writer.OpenSpace(new SpaceId(0), new SpaceId(0));
                torn.WriteTo(space);
                space.Clear(); // a second freeze reads all again: the index gets patches that no page map names
                last.WriteTo(space);
                store.Forget([a], dryRun: false);
                gc = Task.Run(() => store.CollectGarbage(Now, null, default));
                while (StoreSurgery.HasIndex(temp) && !gc.IsCompleted) await Task.Delay(20);
                writer.Commit(Memory.Manifest());
                lost = new PatchGroupId(writer.Crid, 3);
            }

            StoreSurgery.SpoilBlock(temp, ColumnFamily.Patches, StoreSurgery.GroupKey(lost));
        }

        // A capture may have found patches behind the damage: their anchors stay.
        var error = await Record.ExceptionAsync(() => gc);
        Assert.Equal(640 / ChunkLocation.SlotsPerFrame, StoreSurgery.AllKeys(temp, ColumnFamily.Chunks).Count(key => Keys.FrameOf(key).Crid == a));
        Assert.Contains($"CRID {lost.Crid}", Assert.IsType<StoreDamagedException>(error).Message);

        store.CollectGarbage(Now, null, default);
        Assert.DoesNotContain(StoreSurgery.AllKeys(temp, ColumnFamily.Chunks), key => Keys.FrameOf(key).Crid == a);
        AssertReads(store, lost.Crid.Value, last);
        AssertReads(store, temp.Capture(torn, "again").Crid, torn);
    }

    // All records of captures go through tables, which can be damaged.
    private static TempStore Tables(out List<string> told)
    {
        var lines = told = [];
        var temp = new TempStore(new Compression(null));
        temp.Options = temp.Options with { SmallCapturePages = 0, Warning = lines.Add };
        return temp;
    }

    // A checkpoint, and one to which every page is a patch, in groups that fill more than a block.
    private static (Crid, Crid, Memory) Patched(TempStore temp, int pages)
    {
        var memory = Memory.Random(1, pages);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (ulong p = 0; p < (ulong)pages; p++) next.Touch(p, new Random((int)p), places: 10);
        return (a, new Crid(Chain.Increment(temp, memory, next)), next);
    }

    private static void AssertReads(CheckpointStore store, ulong crid, Memory memory)
    {
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(crid));
        memory.AssertEquals(image);
    }

    private static void Rot(TempStore temp, FrameId id) => StoreSurgery.Edit(temp, (batch, db) =>
    {
        var bytes = StoreSurgery.Frame(db, id);
        bytes[^100] ^= 1; // the frame's checksum tells
        batch.Put(ColumnFamily.Chunks, StoreSurgery.Key(id), bytes);
    });
}
