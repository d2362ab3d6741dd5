using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Maintenance;
using Crstore.Store.Native;
using Crstore.Tests.Store.Stores;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>gc after a gc that was cut short, and gc with forgets between its looks.</summary>
public sealed class InterruptedGarbageTests
{
    private static readonly GcOptions Now = new(false, TimeSpan.FromMinutes(10));

    [Fact]
    public void A_forget_between_the_looks_makes_gc_look_again_but_not_at_every_frame_of_the_store()
    {
        using var temp = new TempStore();
        var a = temp.Capture(Memory.Random(1, 200), "a");
        var b = temp.Capture(Memory.Random(2, 100), "b");
        temp.Capture(Memory.Random(3, 100), "c");
        StoreSurgery.Open(temp, db =>
        {
            Forgetting.Apply(db, [new Crid(a.Crid)]);
            var first = Condemned.LookAndDrop(db, null, null, default);
            Assert.Equal(200UL, first.Chunks.Count);
            Forgetting.Apply(db, [new Crid(b.Crid)]);
            var second = Condemned.LookAndDrop(db, first, null, default);
            Assert.False(second.Thorough);
            Assert.Equal(300UL, second.Chunks.Count); // also those whose index entries are gone already
            Assert.True(Condemned.LookAndDrop(db, null, null, default).Thorough); // as the next gc sees it, if this one dies now
            return true;
        });
    }

    [Fact]
    public async Task What_the_first_look_condemned_is_freed_although_a_forget_made_that_look_void()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 1600);
        var a = temp.Capture(memory);
        var next = memory.Clone();
        for (ulong p = 0; p < 1600; p++)
            if (p % 16 >= 4) next.Remove(p); // four pages of each frame live on
        var b = Chain.Increment(temp, memory, next);
        var c = temp.Capture(Memory.Random(2, 50), "c");
        using var store = temp.Open();
        store.Forget([new Crid(a.Crid)], dryRun: false);
        var looks = 0;
        var held = store.BeginCapture("holds gc", full: false);
        var waiting = new TaskCompletionSource();
        var progress = new Sink(p =>
        {
            if (p.Phase == "looking at the index") looks++;
            if (p.Phase.StartsWith("waiting", StringComparison.Ordinal)) waiting.TrySetResult();
        });
        var gc = Task.Run(() => store.CollectGarbage(Now, progress, default));
        await Task.WhenAny(waiting.Task, gc);
        store.Forget([new Crid(c.Crid)], dryRun: false);
        held.Dispose();
        var result = await gc;
        Assert.Equal(2, looks);
        Assert.Equal((1200UL + 50, 100UL), (result.ChunksFreed, result.FramesRewritten));
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(new Crid(b))) next.AssertEquals(image);
        AssertSound(store);
        Assert.Equal(0UL, store.CollectGarbage(Now, null, default).ChunksFreed);
    }

    [Fact]
    public void After_a_gc_that_was_cut_short_the_index_is_restored_slice_by_slice()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 9000);
        temp.Capture(memory, "a");
        var dead = temp.Capture(Memory.Random(2, 50), "b");
        using var store = temp.Open();
        store.Forget([new Crid(dead.Crid)], dryRun: false);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            StoreMeta.Put(batch, StoreMeta.GcGeneration, 7); // begun, never done
            using var i = db.Iterate(ColumnFamily.Index);
            for (var there = i.SeekToFirst(); there; there = i.Next()) batch.Delete(ColumnFamily.Index, i.Key);
        });
        var slices = 0;
        store.CollectGarbage(Now, new Sink(p => slices += p.Phase == "restoring the index" ? 1 : 0), default);
        Assert.Equal((9000 + 511 * 16) / (512 * 16), slices);
        Assert.Equal(9000, StoreSurgery.AllKeys(temp, ColumnFamily.Index).Count);
        Assert.Equal(0UL, temp.Capture(memory, "c").Pages.Fresh);
        AssertSound(store);
    }

    private static void AssertSound(CheckpointStore store)
    {
        using var reader = store.OpenReader();
        var result = reader.Verify([], new VerifyOptions(100), null, default);
        Assert.Empty(result.Problems);
        Assert.Empty(result.StoreProblems);
    }

    private sealed class Sink(Action<StoreProgress> action) : IProgress<StoreProgress>
    {
        public void Report(StoreProgress value) => action(value);
    }
}
