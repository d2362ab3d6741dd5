using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Store.Maintenance;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Tests.Store.Stores;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>gc, forget and verify where pages are patches to others.</summary>
public sealed class PatchGarbageTests
{
    private static readonly GcOptions Now = new(false, TimeSpan.FromMinutes(10));

    [Fact]
    public void Forgotten_in_any_order_the_others_read_on_and_in_the_end_nothing_is_left()
    {
        var random = Seeds.Random();
        ulong rewritten = 0;
        for (var round = 0; round < 3 || (rewritten == 0 && round < 100); round++) // the order that was drawn may leave nothing to rewrite
        {
            using var temp = new TempStore();
            if (round > 0) temp.Options = temp.Options with { SmallCapturePages = 0 };
            var chain = Touched(temp, random, 12);
            using var store = temp.Open();
            while (chain.Count > 0)
            {
                foreach (var victim in chain.Keys.OrderBy(_ => random.Next()).Take(random.Next(1, 4)).ToList())
                {
                    store.Forget([victim], dryRun: false);
                    chain.Remove(victim);
                }

                var estimate = store.CollectGarbage(Now with { DryRun = true }, null, default);
                var result = store.CollectGarbage(Now, null, default);
                Assert.InRange(estimate.ChunksFreed, 0UL, result.ChunksFreed); // it doesn't know of what earlier gcs left in frames that were mostly alive
                rewritten += result.FramesRewritten;
                Chain.AssertAll(store, chain);
                AssertSound(store);
            }

            foreach (var family in new[] { ColumnFamily.Chunks, ColumnFamily.Patches, ColumnFamily.Index, ColumnFamily.Maps })
                Assert.Empty(StoreSurgery.AllKeys(temp, family));
        }

        Assert.True(rewritten > 0, "no frame or group was rewritten");
    }

    [Fact]
    public void An_anchor_lives_as_long_as_its_patches_and_no_longer()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 6400);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (ulong p = 0; p < 6400; p++) next.Touch(p, new Random((int)p));
        var b = new Crid(Chain.Increment(temp, memory, next)); // all patches: no page of A in its map
        temp.Capture(Memory.Random(2, 10), "other");
        using var store = temp.Open();
        store.Forget([a], dryRun: false);
        Assert.Equal(0UL, store.CollectGarbage(Now, null, default).ChunksFreed);
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(b)) next.AssertEquals(image);
        AssertSound(store);

        store.Forget([b], dryRun: false);
        var before = SizeOf(temp);
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal((2 * 6400UL, 400UL + 100), (result.ChunksFreed, result.FramesDeleted));
        Assert.True(before - SizeOf(temp) > 6400 * 1000, $"{before} bytes became {SizeOf(temp)}");
        Assert.Empty(StoreSurgery.AllKeys(temp, ColumnFamily.Patches));
    }

    [Fact]
    public void Only_the_anchors_of_live_patches_stay_when_frames_and_groups_are_rewritten()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 640);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (ulong p = 0; p < 640; p++) next.Touch(p, new Random((int)p));
        var b = new Crid(Chain.Increment(temp, memory, next));
        var last = next.Clone();
        for (ulong p = 0; p < 640; p++)
            if (p % 16 >= 4) last.Remove(p);
        var c = new Crid(Chain.Increment(temp, next, last));
        using var store = temp.Open();
        store.Forget([a, b], dryRun: false);
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal((2 * 480UL, 40UL + 10), (result.ChunksFreed, result.FramesRewritten));
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(c)) last.AssertEquals(image);
        AssertSound(store);
        var again = store.CollectGarbage(Now, null, default);
        Assert.Equal((0UL, 0UL), (again.ChunksFreed, again.FramesRewritten));
    }

    [Fact]
    public async Task A_patch_found_in_the_index_by_a_running_capture_keeps_its_anchor()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 600);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (ulong p = 0; p < 600; p++) next.Touch(p, new Random((int)p));
        var b = new Crid(Chain.Increment(temp, memory, next));
        using var store = temp.Open();
        Task<GcResult> gc;
        using (var writer = store.BeginCapture("b", full: false))
        {
            next.WriteTo(writer.OpenSpace(new SpaceId(0), null));
            store.Forget([a, b], dryRun: false);
            gc = Task.Run(() => store.CollectGarbage(Now, null, default));
            while (StoreSurgery.HasIndex(temp) && !gc.IsCompleted) Thread.Sleep(20); // the first look has condemned patches and anchors
            Assert.False(gc.IsCompleted);
            Assert.Equal(0UL, writer.Commit(Memory.Manifest()).Pages.Fresh);
        }

        Assert.Equal(0UL, (await gc).ChunksFreed);
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(reader.Resolve("b"))) next.AssertEquals(image);
        AssertSound(store);
        Assert.Equal(0UL, temp.Capture(next, "c").Pages.Fresh); // the entries of patches are back
        Assert.Equal(0UL, temp.Capture(memory, "d").Pages.Fresh); // and those of the anchors
    }

    [Fact]
    public async Task A_capture_that_patches_what_is_forgotten_and_collected_meanwhile_commits_and_restores()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 600);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (ulong p = 0; p < 600; p++) next.Touch(p, new Random((int)p));
        var b = new Crid(Chain.Increment(temp, memory, next));
        var last = next.Clone();
        for (ulong p = 0; p < 600; p++) last.Touch(p, new Random((int)p + 1000));
        using var store = temp.Open();
        Task<GcResult> gc;
        using (var writer = store.BeginCapture("s", full: false))
        {
            last.WriteTo(writer.OpenSpace(new SpaceId(0), new SpaceId(0)));
            store.Forget([a, b], dryRun: false);
            gc = Task.Run(() => store.CollectGarbage(Now, null, default));
            while (StoreSurgery.HasIndex(temp) && !gc.IsCompleted) Thread.Sleep(20);
            Assert.False(gc.IsCompleted);
            Assert.Equal(600UL, writer.Commit(Memory.Manifest()).Pages.Fresh);
        }

        Assert.Equal(600UL, (await gc).ChunksFreed); // B's patches: A's pages are needed still
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(reader.Resolve("s"));
        last.AssertEquals(image);
        AssertSound(store);
    }

    [Fact]
    public void After_a_gc_that_was_cut_short_dead_patches_are_found_and_live_ones_get_their_entries_back()
    {
        using var temp = new TempStore();
        var chain = Touched(temp, new Random(7), 8);
        using var store = temp.Open();
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            StoreMeta.Put(batch, StoreMeta.GcGeneration, 7); // begun, never done
            using var i = db.Iterate(ColumnFamily.Index);
            for (var there = i.SeekToFirst(); there; there = i.Next()) batch.Delete(ColumnFamily.Index, i.Key);
        });
        foreach (var victim in chain.Keys.Take(4).ToList())
        {
            store.Forget([victim], dryRun: false);
            chain.Remove(victim);
        }

        Assert.True(store.CollectGarbage(Now, null, default).ChunksFreed > 0);
        Chain.AssertAll(store, chain);
        AssertSound(store);
        Assert.Equal(0UL, temp.Capture(chain.Values.Last(), "again").Pages.Fresh);
    }

    [Fact]
    public void Verify_names_all_who_suffer_from_a_damaged_anchor_and_from_a_damaged_group()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 200);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        next.Touch(77, new Random(1));
        next.Touch(80, new Random(2));
        var b = new Crid(Chain.Increment(temp, memory, next));
        var c = new Crid(Chain.Increment(temp, next, next));
        var last = next.Clone();
        last.Remove(77);
        var d = new Crid(Chain.Increment(temp, next, last));
        StoreSurgery.SpoilPage(temp, new ChunkLocation(a, 77));
        Assert.Empty(Verify(temp, [], 0).Problems);
        var result = Verify(temp, [], 100);
        Assert.Equal([d], result.Whole);
        Assert.Equal([a, b, c], result.Broken);
        Assert.All(result.Problems, p => Assert.Equal((Memory.Base + 77).Address, p.PageAddress));
        Assert.Contains("changes a page that can't be read", result.Problems.Single(p => p.Crid == b).Text);
        Assert.Equal([b], Verify(temp, [b], 100).Broken); // also when A is not asked for
        using (var store = temp.Open())
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(b))
        {
            var page = new byte[VirtualPage.Size];
            Assert.Contains("patch group", Assert.Throws<StoreDamagedException>(() => image.Read(default, new PageRange(Memory.Base + 77, 1), page)).Message);
            image.Read(default, new PageRange(Memory.Base + 80, 1), page);
            Assert.Equal(next.Pages[80], page);
        }

        var group = new PatchGroupId(b, 0);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            var key = new byte[Keys.FrameSize];
            Keys.PatchGroup(group, key);
            var bytes = db.Get(ColumnFamily.Patches, key)!;
            bytes[^10] ^= 1;
            batch.Put(ColumnFamily.Patches, key, bytes);
        });
        result = Verify(temp, [], 0);
        Assert.Equal([a], result.Whole);
        Assert.Equal([b, c, d], result.Broken);
        Assert.Contains(result.Problems, p => p.Crid == d && p.PageAddress == (Memory.Base + 80).Address && p.Text.Contains("patch group", StringComparison.Ordinal));

        // What its patches need is unknown: gc frees nothing before those who refer to them are forgotten.
        using (var store = temp.Open())
        {
            store.Forget([a, b], dryRun: false);
            var error = Assert.Throws<StoreDamagedException>(() => store.CollectGarbage(Now, null, default));
            Assert.Contains($"{group}", error.Message);
            store.Forget([c, d], dryRun: false);
            Assert.True(store.CollectGarbage(Now, null, default).ChunksFreed >= 200);
        }
    }

    [Fact]
    public void An_anchor_whose_frame_is_gone_is_told_without_reading_content()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 64);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (ulong p = 0; p < 64; p++) next.Touch(p, new Random((int)p));
        var b = new Crid(Chain.Increment(temp, memory, next));
        StoreSurgery.Edit(temp, (batch, _) => batch.Delete(ColumnFamily.Chunks, StoreSurgery.Key(new FrameId(a, 2))));
        var result = Verify(temp, [b], 0);
        Assert.Equal([b], result.Broken);
        Assert.Equal(Enumerable.Range(32, 16).Select(p => (Memory.Base + (ulong)p).Address), result.Problems.Select(p => p.PageAddress!.Value));
        Assert.All(result.Problems, p => Assert.Contains($"frame {a}/2: missing", p.Text));
    }

    /// <summary>A chain whose increments touch many pages, rewrite some, and drop a few.</summary>
    private static SortedDictionary<Crid, Memory> Touched(TempStore temp, Random random, int length)
    {
        var memory = Memory.Random(random.Next(), 600);
        var all = new SortedDictionary<Crid, Memory> { [new Crid(temp.Capture(memory).Crid)] = memory };
        while (all.Count < length)
        {
            var next = memory.Clone();
            for (var i = 0; i < 100; i++)
                if (next.Pages.ContainsKey((ulong)random.Next(600)) && (ulong)random.Next(600) is var p && next.Pages.ContainsKey(p)) next.Touch(p, random);
            next.Fill(random.Next(), random.Next(580), 20);
            for (var i = 0; i < 5; i++) next.Remove((ulong)random.Next(600));
            all.Add(new Crid(Chain.Increment(temp, memory, next)), memory = next);
        }

        return all;
    }

    private static void AssertSound(CheckpointStore store)
    {
        using var reader = store.OpenReader();
        var result = reader.Verify([], new VerifyOptions(100), null, default);
        Assert.Empty(result.Problems);
        Assert.Empty(result.StoreProblems);
    }

    private static VerifyResult Verify(TempStore temp, IReadOnlyList<Crid> crids, double percent)
    {
        using var store = temp.Open();
        using var reader = store.OpenReader();
        return reader.Verify(crids, new VerifyOptions(percent), null, default);
    }

    private static double SizeOf(TempStore temp) => new DirectoryInfo(temp.Directory).GetFiles("*", SearchOption.AllDirectories).Sum(f => f.Length);
}
