using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Store.Layout;
using Crstore.Store.Maintenance;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Tests.Store.Stores;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>An index entry is there only with all that it stands for: what a capture finds it can restore.</summary>
public sealed class IndexEntryTests
{
    private static readonly GcOptions Now = new(false, TimeSpan.FromMinutes(10));

    [Theory]
    [InlineData(3000, 3000, 5000)] // the index goes through an SST, frames and groups through the batch
    [InlineData(20000, 500, 5000)] // frames too
    [InlineData(100, 100, 128)]
    [InlineData(100, 100, 0)]
    public void A_commit_that_fails_at_its_end_leaves_no_entries(int fresh, int touched, int small)
    {
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = small };
        var memory = Memory.Random(1, touched);
        temp.Capture(memory);
        var next = Touched(memory);
        next.Fill(77, touched, fresh);
        using (var store = temp.Open())
        using (var writer = store.BeginCapture("s", full: false))
        {
            next.WriteTo(writer.OpenSpace(new SpaceId(0), new SpaceId(0)));
            Assert.Throws<InvalidOperationException>(() => writer.Commit(Memory.Manifest(), finalize: _ => throw new InvalidOperationException("dies here")));
        }

        AssertSound(temp);
        Assert.Equal((ulong)(fresh + touched), temp.Capture(next, "other").Pages.Fresh);
        AssertRestores(temp, "other", next);
    }

    [Fact]
    public void A_commit_whose_index_cannot_be_built_commits_nothing_and_lets_go_of_the_store()
    {
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = 100 };
        var first = Memory.Random(1, 300);
        temp.Capture(first);
        var next = Memory.Random(2, 300);
        using (var store = temp.Open())
        using (var writer = store.BeginCapture("s", full: true))
        {
            next.WriteTo(writer.OpenSpace(new SpaceId(0), null));
            var inTheWay = Path.Combine(temp.Directory, "incoming", $"{writer.Crid}-index-0.sst");
            Directory.CreateDirectory(inTheWay);
            Assert.ThrowsAny<CrstoreException>(() => writer.Commit(Memory.Manifest())); // frames are in by then, or not: the index is built beside that
            Directory.Delete(inTheWay);
        }

        using (var store = temp.Open()) Assert.Single(All(store));
        Assert.Equal(0UL, Owed(temp));
        Assert.Equal(300UL, temp.Capture(next, "other").Pages.Fresh);
        AssertRestores(temp, "other", next);
        AssertSound(temp);
    }

    [Fact]
    public async Task A_commit_that_fails_between_the_looks_of_a_gc_leaves_no_patch_without_its_anchor()
    {
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = 0 };
        var memory = Memory.Random(1, 600);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = Touched(memory);
        using var store = temp.Open();
        Task<GcResult> gc;
        using (var writer = store.BeginCapture("s", full: false))
        {
            next.WriteTo(writer.OpenSpace(new SpaceId(0), new SpaceId(0)));
            gc = ForgetAndCollect(temp, store, a);
            Assert.Throws<InvalidOperationException>(() => writer.Commit(Memory.Manifest(), finalize: _ => throw new InvalidOperationException("dies here")));
        }

        await gc;
        temp.Capture(next, "other");
        AssertRestores(temp, "other", next);
        AssertSound(temp);
    }

    [Fact]
    public void A_commit_whose_index_is_in_may_owe_it_all_the_same_after_a_power_cut_and_the_next_gc_settles_that()
    {
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = 100 };
        var memory = Memory.Random(1, 300);
        temp.Capture(memory);
        Assert.Equal(0UL, Owed(temp));
        using (var db = RocksDb.Open(new StorePaths(temp.Directory).Database, RocksMode.ReadWrite))
        using (var batch = db.NewBatch())
        {
            StoreMeta.Put(batch, StoreMeta.IndexOwed, 1); // the write that is lost took it off
            db.Write(batch);
        }

        Assert.Equal(0UL, temp.Capture(memory, "other").Pages.Fresh);
        using (var store = temp.Open()) store.CollectGarbage(Now, null, default);
        Assert.Equal(0UL, Owed(temp));
        Assert.Equal(0UL, temp.Capture(memory, "third").Pages.Fresh);
        AssertRestores(temp, "s", memory);
        AssertSound(temp);
    }

    [Fact]
    public async Task A_patch_that_its_own_checkpoint_does_not_name_keeps_its_anchor_through_a_gc_that_was_under_way()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 600);
        var a = new Crid(temp.Capture(memory).Crid);
        var (torn, last) = (Touched(memory), Memory.Random(2, 600));
        using var store = temp.Open();
        Task<GcResult> gc;
        using (var writer = store.BeginCapture("s", full: false))
        {
            var space = writer.OpenSpace(new SpaceId(0), new SpaceId(0));
            torn.WriteTo(space);
            space.Clear(); // a second freeze reads all again
            last.WriteTo(space);
            gc = ForgetAndCollect(temp, store, a);
            Assert.Equal(1200UL, writer.Commit(Memory.Manifest()).Pages.Fresh);
        }

        await gc;
        AssertSound(temp);
        temp.Capture(torn, "other");
        AssertRestores(temp, "other", torn);
        AssertRestores(temp, "s", last);
        store.Forget([.. All(store)], dryRun: false);
        store.CollectGarbage(Now, null, default);
        foreach (var family in new[] { ColumnFamily.Chunks, ColumnFamily.Patches, ColumnFamily.Index }) Assert.Empty(StoreSurgery.AllKeys(temp, family));
    }

    [Fact]
    public void A_commit_whose_index_can_not_be_ingested_succeeds_and_the_next_gc_makes_its_pages_findable()
    {
        using var temp = new TempStore();
        var warnings = new List<string>();
        temp.Options = temp.Options with { SmallCapturePages = 0, Warning = warnings.Add };
        var memory = Memory.Random(1, 300);
        Losing(temp, memory, "s");
        Assert.Contains("can't be found by their content before the next gc", Assert.Single(warnings));
        AssertRestores(temp, "s", memory);
        AssertSound(temp);
        Assert.False(StoreSurgery.HasIndex(temp));

        var next = Touched(memory);
        Losing(temp, next, "s"); // patches
        temp.Capture(Memory.Random(2, 100), "healthy"); // pays its own debt only
        Assert.Equal(2UL, Owed(temp));
        using var store = temp.Open();
        Assert.Equal(0UL, store.CollectGarbage(Now, null, default).ChunksFreed);
        Assert.Equal(0UL, Owed(temp));
        Assert.Equal(0UL, temp.Capture(memory, "x").Pages.Fresh);
        Assert.Equal(0UL, temp.Capture(next, "y").Pages.Fresh);
        AssertSound(temp);
    }

    [Fact]
    public void What_never_got_its_entries_is_freed_like_everything_else()
    {
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = 0 };
        var memory = Memory.Random(1, 320);
        var a = Losing(temp, memory, "s");
        var rest = memory.Clone();
        for (ulong p = 0; p < 320; p++)
            if (p % 16 >= 4) rest.Remove(p);
        Chain.Increment(temp, memory, rest);
        using var store = temp.Open();
        store.Forget([a], dryRun: false);
        Assert.Equal(240UL, store.CollectGarbage(Now, null, default).ChunksFreed);
        AssertRestores(temp, "s", rest);
        AssertSound(temp);
    }

    [Fact]
    public void Nobody_finds_patches_to_a_frame_that_gc_saw_is_damaged()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 160);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (ulong p = 0; p < 16; p++) next.Touch(p, new Random((int)p));
        var b = new Crid(Chain.Increment(temp, memory, next));
        var last = next.Clone();
        for (ulong p = 4; p < 160; p++) last.Remove(p);
        Chain.Increment(temp, next, last);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            var bytes = StoreSurgery.Frame(db, new FrameId(a, 0));
            bytes[^10] ^= 1;
            batch.Put(ColumnFamily.Chunks, StoreSurgery.Key(new FrameId(a, 0)), bytes);
        });
        using var store = temp.Open();
        store.Forget([a, b], dryRun: false);
        Assert.Equal(1UL, store.CollectGarbage(Now, null, default).DamagedFrames);
        Assert.Equal(4UL, temp.Capture(last, "other").Pages.Fresh);
        AssertRestores(temp, "other", last);
    }

    [Fact]
    public void A_group_that_does_not_unpack_is_no_obstacle_to_gc_and_nobody_finds_its_patches()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 64);
        temp.Capture(memory);
        var next = memory.Clone();
        for (ulong p = 0; p < 64; p++)
        {
            var page = next.Pages[p].ToArray();
            for (var k = 0; k < 20; k++) page.AsSpan(1500 + k * 100, 8).Fill(7);
            next.Set(p, page);
        }

        var b = new Crid(Chain.Increment(temp, memory, next));
        var last = next.Clone();
        for (ulong p = 16; p < 64; p++) last.Remove(p);
        Chain.Increment(temp, next, last);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            var id = new PatchGroupId(b, 0);
            var key = new byte[Keys.FrameSize];
            Keys.PatchGroup(id, key);
            var bytes = db.Get(ColumnFamily.Patches, key)!;
            Assert.Equal(1, bytes[1]);
            bytes[bytes.Length - 4 - BitConverter.ToInt32(bytes, 12)] ^= 0xff; // zstd's magic
            BitConverter.TryWriteBytes(bytes.AsSpan(bytes.Length - 4), PatchGroupLayout.Checksum(id, bytes.AsSpan(0, bytes.Length - 4)));
            batch.Put(ColumnFamily.Patches, key, bytes);
        });
        using var store = temp.Open();
        store.Forget([b], dryRun: false);
        Assert.Equal(1UL, store.CollectGarbage(Now, null, default).DamagedFrames);
        store.CollectGarbage(Now, null, default);
        Assert.Equal(16UL, temp.Capture(last, "other").Pages.Fresh);
        AssertRestores(temp, "other", last);
    }

    [Fact]
    public void Verify_tells_of_an_entry_for_a_patch_whose_anchor_is_gone()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 64);
        var a = new Crid(temp.Capture(memory).Crid);
        var b = new Crid(Chain.Increment(temp, memory, Touched(memory)));
        using var store = temp.Open();
        temp.Capture(Memory.Random(2, 5), "kept");
        store.Forget([a, b], dryRun: false);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            batch.Delete(ColumnFamily.Chunks, StoreSurgery.Key(new FrameId(a, 2)));
            using var i = db.Iterate(ColumnFamily.Index);
            for (var there = i.SeekToFirst(); there; there = i.Next())
                if (!Keys.LocationOf(i.Value).IsPatch) batch.Delete(ColumnFamily.Index, i.Key);
        });
        using var reader = store.OpenReader();
        var result = reader.Verify([], new VerifyOptions(0), null, default);
        Assert.Empty(result.Problems);
        Assert.Equal(16, result.StoreProblems.Count);
        Assert.All(result.StoreProblems, p => Assert.Contains("changes a page that is not there", p));
    }

    private static Memory Touched(Memory memory)
    {
        var next = memory.Clone();
        foreach (var p in memory.Pages.Keys) next.Touch(p, new Random((int)p));
        return next;
    }

    /// <summary>gc, when this returns, is behind its first look and waits for the running capture.</summary>
    private static Task<GcResult> ForgetAndCollect(TempStore temp, CheckpointStore store, Crid crid)
    {
        store.Forget([crid], dryRun: false);
        var gc = Task.Run(() => store.CollectGarbage(Now, null, default));
        while (StoreSurgery.HasIndex(temp) && !gc.IsCompleted) Thread.Sleep(20);
        Assert.False(gc.IsCompleted);
        return gc;
    }

    /// <summary>A capture that loses its index files at the last moment.</summary>
    private static Crid Losing(TempStore temp, Memory memory, string series)
    {
        using var store = temp.Open();
        using var writer = store.BeginCapture(series, full: false);
        memory.WriteTo(writer.OpenSpace(new SpaceId(0), writer.Parent is null ? null : new SpaceId(0)));
        return new Crid(writer.Commit(Memory.Manifest(), finalize: _ => Array.ForEach(Directory.GetFiles(Path.Combine(temp.Directory, "incoming"), "*-index-*"), File.Delete)).Crid);
    }

    private static ulong Owed(TempStore temp)
    {
        using var store = temp.Open();
        using var reader = store.OpenReader();
        return StoreMeta.Read(reader.Database, StoreMeta.IndexOwed);
    }

    private static List<Crid> All(CheckpointStore store)
    {
        using var reader = store.OpenReader();
        return [.. reader.Headers().Select(h => new Crid(h.Crid))];
    }

    private static void AssertRestores(TempStore temp, string series, Memory memory)
    {
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(reader.Resolve(series));
        memory.AssertEquals(image);
    }

    private static void AssertSound(TempStore temp)
    {
        using var store = temp.Open();
        using var reader = store.OpenReader();
        var result = reader.Verify([], new VerifyOptions(100), null, default);
        Assert.Empty(result.Problems);
        Assert.Empty(result.StoreProblems);
    }
}
