using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Tests.Store.Stores;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

public sealed class GarbageTests
{
    private static readonly GcOptions Now = new(false, TimeSpan.FromMinutes(10));

    [Fact]
    public void Gc_gives_the_space_of_a_large_checkpoint_back_to_the_disk()
    {
        using var temp = new TempStore();
        var keep = Memory.Random(1, 6000);
        var drop = Memory.Random(2, 12_000);
        var kept = temp.Capture(keep, "keep");
        var dropped = temp.Capture(drop, "drop");
        using var store = temp.Open();
        var before = SizeOf(temp);
        store.Forget([new Crid(dropped.Crid)], dryRun: false);
        var estimate = store.CollectGarbage(Now with { DryRun = true }, null, default);
        Assert.True(estimate.DryRun);
        Assert.Equal(before, SizeOf(temp), 100_000.0); // the forget itself wrote a little
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal(12_000UL, result.ChunksFreed);
        Assert.Equal(750UL, result.FramesDeleted);
        Assert.Equal((result.ChunksFreed, result.FramesDeleted, result.FramesRewritten, result.SegmentsFreed),
            (estimate.ChunksFreed, estimate.FramesDeleted, estimate.FramesRewritten, estimate.SegmentsFreed));
        Assert.True(result.SegmentsFreed >= 23, $"{result.SegmentsFreed} segments");
        var freed = before - SizeOf(temp);
        Assert.True(freed > 12_000 * 1000, $"only {freed} bytes came back");
        Assert.True(result.BytesAfter < result.BytesBefore);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(kept.Crid));
        keep.AssertEquals(image);
        AssertSound(store);
    }

    [Fact]
    public void Frames_that_are_mostly_dead_are_rewritten_in_place_and_the_space_comes_back()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 8000);
        var a = temp.Capture(memory);
        var next = memory.Clone();
        for (ulong p = 0; p < 8000; p++)
            if (p % 16 >= 4) next.Remove(p); // four pages of each frame live on
        var b = Chain.Increment(temp, memory, next);
        using var store = temp.Open();
        store.Forget([new Crid(a.Crid)], dryRun: false);
        var before = SizeOf(temp);
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal(500UL, result.FramesRewritten);
        Assert.Equal(6000UL, result.ChunksFreed);
        Assert.Equal(0UL, result.FramesDeleted);
        Assert.True(before - SizeOf(temp) > 6000 * 900, $"{before} bytes became {SizeOf(temp)}");
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(new Crid(b))) next.AssertEquals(image);
        AssertSound(store);

        var again = store.CollectGarbage(Now, null, default);
        Assert.Equal((0UL, 0UL, 0UL, 0UL), (again.ChunksFreed, again.FramesRewritten, again.FramesDeleted, again.SegmentsFreed));
    }

    [Fact]
    public void Nothing_that_is_shared_is_freed()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 700);
        var a = temp.Capture(memory, "a");
        var b = temp.Capture(memory, "b");
        Assert.Equal(0UL, b.Pages.Fresh);
        using var store = temp.Open();
        store.Forget([new Crid(a.Crid)], dryRun: false);
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal(0UL, result.ChunksFreed);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(b.Crid));
        memory.AssertEquals(image);
        Assert.Equal(0UL, temp.Capture(memory, "c").Pages.Fresh);
    }

    [Fact]
    public void An_empty_store_and_a_store_without_garbage_are_left_alone()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        Assert.Equal(0UL, store.CollectGarbage(Now, null, default).ChunksFreed);
        temp.Capture(Memory.Random(1, 100));
        var keys = StoreSurgery.AllKeys(temp, ColumnFamily.Chunks);
        Assert.Equal(0UL, store.CollectGarbage(Now, null, default).ChunksFreed);
        Assert.Equal(keys, StoreSurgery.AllKeys(temp, ColumnFamily.Chunks));
    }

    [Fact]
    public async Task What_a_running_capture_found_in_the_index_survives_and_is_found_again()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 600);
        var a = temp.Capture(memory, "a");
        using var store = temp.Open();
        Task<GcResult> gc;
        using (var writer = store.BeginCapture("b", full: false))
        {
            memory.WriteTo(writer.OpenSpace(new SpaceId(0), null));
            store.Forget([new Crid(a.Crid)], dryRun: false);
            gc = Task.Run(() => store.CollectGarbage(Now, null, default));
            while (StoreSurgery.HasIndex(temp) && !gc.IsCompleted) Thread.Sleep(20); // the first look has condemned all
            Assert.False(gc.IsCompleted);
            Assert.Equal(0UL, writer.Commit(Memory.Manifest()).Pages.Fresh); // and yet the capture may count on it
        }

        var result = await gc;
        Assert.Empty(result.HeldBy);
        Assert.Equal(0UL, result.ChunksFreed);
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(reader.Resolve("b"))) memory.AssertEquals(image);
        Assert.Equal(0UL, temp.Capture(memory, "c").Pages.Fresh);
        AssertSound(store);
    }

    [Fact]
    public void The_time_of_the_first_look_is_not_taken_off_the_wait_for_sessions()
    {
        // Where there is much else to do, to let it go may take longer than gc waits: then again, with more time.
        var wait = TimeSpan.FromSeconds(1);
        IReadOnlyList<string> heldBy;
        do heldBy = LetGoAfterALongLook(wait);
        while (heldBy.Count > 0 && (wait *= 4) < TimeSpan.FromMinutes(2));
        Assert.Empty(heldBy);
    }

    /// <summary>Who still held gc, whose first look took longer than it waits, and which was told of by then.</summary>
    private static IReadOnlyList<string> LetGoAfterALongLook(TimeSpan wait)
    {
        using var temp = new TempStore();
        var a = temp.Capture(Memory.Random(1, 100), "a");
        using var store = temp.Open();
        using var session = store.BeginCapture("holds gc", full: false);
        store.Forget([new Crid(a.Crid)], dryRun: false);
        temp.Capture(Memory.Random(2, 100), "b");
        var slow = false;
        var progress = new Sink(p =>
        {
            if (p.Phase == "marking" && !slow) Thread.Sleep(wait + TimeSpan.FromMilliseconds(100));
            if (p.Phase == "marking") slow = true;
            if (p.Phase.StartsWith("waiting", StringComparison.Ordinal)) session.Dispose();
        });
        var result = store.CollectGarbage(new GcOptions(false, wait), progress, default);
        Assert.True(slow);
        if (result.HeldBy.Count == 0) Assert.Equal(100UL, result.ChunksFreed);
        return result.HeldBy;
    }

    [Fact]
    public async Task A_capture_that_begins_after_the_first_look_stores_condemned_pages_anew()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 600);
        var a = temp.Capture(memory, "a");
        using var store = temp.Open();
        Task<GcResult> gc;
        using (store.BeginCapture("holds gc", full: false)) // an older session that keeps gc between its looks
        {
            store.Forget([new Crid(a.Crid)], dryRun: false);
            gc = Task.Run(() => store.CollectGarbage(Now, null, default));
            while (StoreSurgery.HasIndex(temp) && !gc.IsCompleted) Thread.Sleep(20);
            Assert.Equal(600UL, temp.Capture(memory, "b").Pages.Fresh);
        }

        Assert.Equal(600UL, (await gc).ChunksFreed);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(reader.Resolve("b"));
        memory.AssertEquals(image);
        AssertSound(store);
    }

    [Fact]
    public async Task What_was_alive_for_a_while_between_the_looks_is_not_freed_under_a_capture_that_took_it_over()
    {
        // Older session S revives condemned chunks; T begins after the first look with S's checkpoint as its parent; S's
        // checkpoint is forgotten before the second look. Dead at both looks, and yet T keeps them.
        using var temp = new TempStore();
        var memory = Memory.Random(1, 600);
        var a = temp.Capture(memory, "a");
        using var store = temp.Open();
        Task<GcResult> gc;
        ICheckpointWriter t;
        using (store.BeginCapture("holds gc", full: false))
        {
            Crid s;
            using (var writer = store.BeginCapture("b", full: false))
            {
                memory.WriteTo(writer.OpenSpace(new SpaceId(0), null));
                store.Forget([new Crid(a.Crid)], dryRun: false);
                gc = Task.Run(() => store.CollectGarbage(Now, null, default));
                while (StoreSurgery.HasIndex(temp) && !gc.IsCompleted) Thread.Sleep(20);
                s = new Crid(writer.Commit(Memory.Manifest()).Crid);
            }

            t = store.BeginCapture("b", full: false);
            Assert.Equal(s, t.Parent!.Crid);
            memory.Keep(t.OpenSpace(new SpaceId(0), new SpaceId(0)), _ => true);
            store.Forget([s], dryRun: false);
        }

        Thread.Sleep(500); // gc goes on, and must find that it has to wait for T as well
        Assert.False(gc.IsCompleted);
        using (t) t.Commit(Memory.Manifest());
        Assert.Equal(0UL, (await gc).ChunksFreed);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(reader.Resolve("b"));
        memory.AssertEquals(image);
        AssertSound(store);
    }

    [Fact]
    public void A_restore_that_began_before_goes_on_reading_what_gc_frees()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 12_000);
        var a = temp.Capture(memory);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(a.Crid));
        store.Forget([new Crid(a.Crid)], dryRun: false);
        Assert.Equal(12_000UL, store.CollectGarbage(Now, null, default).ChunksFreed);
        memory.AssertEquals(image);
    }

    [Fact]
    public void A_cancelled_gc_leaves_a_sound_store_and_the_next_one_finishes()
    {
        for (var calls = 1; calls < 40; calls += 4)
        {
            using var temp = new TempStore();
            var random = new Random(calls);
            var chain = Chain.Make(temp, random, 4, pages: 800);
            using var store = temp.Open();
            foreach (var victim in chain.Keys.Take(2).ToList())
            {
                store.Forget([victim], dryRun: false);
                chain.Remove(victim);
            }

            using var cancel = new CancellationTokenSource();
            var countdown = calls;
            var progress = new Sink(_ =>
            {
                if (--countdown == 0) cancel.Cancel();
            });
            var error = Record.Exception(() => store.CollectGarbage(Now, progress, cancel.Token));
            Assert.True(error is null or OperationCanceledException, error?.ToString());
            Chain.AssertAll(store, chain);
            AssertSound(store);
            store.CollectGarbage(Now, null, default);
            Chain.AssertAll(store, chain);
            AssertSound(store);
            foreach (var crid in chain.Keys) store.Forget([crid], dryRun: false);
            store.CollectGarbage(Now, null, default);
            foreach (var family in new[] { ColumnFamily.Chunks, ColumnFamily.Index, ColumnFamily.Maps })
                Assert.Empty(StoreSurgery.AllKeys(temp, family));
        }
    }

    [Fact]
    public void A_store_with_a_damaged_page_map_is_not_collected()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 1000);
        var a = temp.Capture(memory, "a");
        var b = temp.Capture(Memory.Random(2, 100), "b");
        using var store = temp.Open();
        store.Forget([new Crid(b.Crid)], dryRun: false);
        StoreSurgery.Edit(temp, (batch, _) =>
        {
            var key = new byte[Keys.SegmentSize];
            Keys.Segment(new Crid(a.Crid), new SpaceId(0), Memory.Base.Number / 512 + 1, key);
            batch.Delete(ColumnFamily.Maps, key);
        });
        var frames = StoreSurgery.AllKeys(temp, ColumnFamily.Chunks);
        Assert.Contains("missing", Assert.Throws<StoreDamagedException>(() => store.CollectGarbage(Now, null, default)).Message);
        Assert.Equal(frames, StoreSurgery.AllKeys(temp, ColumnFamily.Chunks));
    }

    [Fact]
    public void Frames_of_a_commit_that_was_cut_short_are_garbage()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 100));
        var orphan = new FrameId(new Crid(77), 0);
        var pages = new byte[2 * 4096];
        pages[5] = 1;
        StoreSurgery.Edit(temp, (batch, _) => batch.Put(ColumnFamily.Chunks, StoreSurgery.Key(orphan),
            FrameEncoder.Encode(orphan, [PageHash.Of(pages.AsSpan(0, 4096)), PageHash.Of(pages.AsSpan(4096))], pages, Compression.Default)));
        using var store = temp.Open();
        var result = store.CollectGarbage(Now, null, default);
        Assert.Equal((2UL, 1UL), (result.ChunksFreed, result.FramesDeleted));
        Assert.DoesNotContain(StoreSurgery.AllKeys(temp, ColumnFamily.Chunks), k => Keys.CridOf(k) == orphan.Crid);
    }

    private static void AssertSound(CheckpointStore store)
    {
        using var reader = store.OpenReader();
        var result = reader.Verify([], new VerifyOptions(100), null, default);
        Assert.Empty(result.Problems);
        Assert.Empty(result.StoreProblems);
    }

    private static double SizeOf(TempStore temp) => new DirectoryInfo(temp.Directory).GetFiles("*", SearchOption.AllDirectories).Sum(f => f.Length);

    private sealed class Sink(Action<StoreProgress> action) : IProgress<StoreProgress>
    {
        public void Report(StoreProgress value) => action(value);
    }
}
