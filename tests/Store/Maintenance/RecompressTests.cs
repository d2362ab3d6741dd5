using System.Text;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Store.Maintenance;
using Crstore.Store.Native;
using Crstore.Tests.Store.Stores;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>gc --recompress: smaller, and everything reads as before.</summary>
public sealed class RecompressTests
{
    private static readonly string[] Words = ["int", "return", "the", "page", "map", "of", "checkpoint", "{", "}", "struct", "value", "0x", "\n", "list", "next", "frozen"];
    private static readonly GcOptions Now = new(false, TimeSpan.FromMinutes(10));

    [Fact]
    public void Everything_is_smaller_and_reads_as_before_and_what_was_packed_is_not_looked_at_again()
    {
        using var temp = new TempStore();
        var chain = Texts(temp, 5);
        using var store = temp.Open();
        var keys = new[] { ColumnFamily.Chunks, ColumnFamily.Patches, ColumnFamily.Index, ColumnFamily.Maps }.ToDictionary(f => f, f => StoreSurgery.AllKeys(temp, f));
        var before = Bytes(temp);
        var result = store.Recompress(null, default);
        Assert.Equal((ulong)(keys[ColumnFamily.Chunks].Count + keys[ColumnFamily.Patches].Count), result.Looked);
        Assert.InRange(result.Packed, 1UL, result.Looked);
        Assert.Equal(before - Bytes(temp), (long)result.BytesSaved);
        Assert.InRange(result.BytesSaved, (ulong)before / 20, (ulong)before);
        Assert.Equal(0UL, result.Damaged);
        foreach (var (family, there) in keys) Assert.Equal(there, StoreSurgery.AllKeys(temp, family)); // nothing has moved
        AssertSound(store, chain);

        Assert.Equal((0UL, 0UL), (store.Recompress(null, default).Looked, store.Recompress(null, default).Packed));
        var another = Text(99, 40);
        chain.Add(new Crid(temp.Capture(another, "another").Crid), another);
        result = store.Recompress(null, default);
        Assert.Equal((3UL, true), (result.Looked, result.Packed > 0)); // 40 pages, 16 to a frame
        store.Forget([chain.Keys.First()], dryRun: false);
        chain.Remove(chain.Keys.First());
        store.CollectGarbage(Now, null, default);
        AssertSound(store, chain);
    }

    [Fact]
    public void Cut_short_it_goes_on_where_it_was()
    {
        using var temp = new TempStore();
        var chain = Texts(temp, 3);
        using var store = temp.Open();
        var all = (ulong)StoreSurgery.AllKeys(temp, ColumnFamily.Chunks).Count + (ulong)StoreSurgery.AllKeys(temp, ColumnFamily.Patches).Count;
        ulong looked = 0;
        var runs = 0;
        for (var done = false; !done; runs++)
        {
            using var cancel = new CancellationTokenSource();
            var pieces = 0;
            try
            {
                looked += new Recompressor(store, new Sink(p =>
                {
                    if (p.Phase.StartsWith("packing", StringComparison.Ordinal) && ++pieces == 2) cancel.Cancel(); // the first one is written, the second one packed and not written
                }), cancel.Token) { BytesAtOnce = 16384 }.Run().Looked;
                done = true;
            }
            catch (OperationCanceledException)
            {
                looked += Done(temp) - looked;
            }

            Assert.True(runs < 1000, "it never ends");
            if (runs % 4 == 0) AssertSound(store, chain);
        }

        Assert.True(runs > 2, "it was hardly ever cut short");
        Assert.Equal(all, looked);
        Assert.Equal(0UL, store.Recompress(null, default).Looked);
        AssertSound(store, chain);
    }

    [Fact]
    public void What_gc_has_changed_or_freed_while_it_was_packed_is_left_alone()
    {
        using var temp = new TempStore();
        var first = Text(1, 160);
        var a = new Crid(temp.Capture(first).Crid);
        var rest = first.Clone();
        for (ulong p = 0; p < 160; p++)
            if (p < 32 || p % 16 >= 4) rest.Remove(p); // two frames go, of the others four pages stay
        var b = new Crid(Chain.Increment(temp, first, rest));
        using var store = temp.Open();
        var collected = false;
        var result = new Recompressor(store, new Sink(p =>
        {
            if (collected || !p.Phase.StartsWith("packing", StringComparison.Ordinal)) return;
            collected = true; // packed, and not written yet
            store.Forget([a], dryRun: false);
            var gc = store.CollectGarbage(Now, null, default);
            Assert.Equal((2UL, 8UL), (gc.FramesDeleted, gc.FramesRewritten));
        }), default).Run();
        Assert.Equal((10UL, 0UL), (result.Looked, result.Packed));
        Assert.Equal(8, StoreSurgery.AllKeys(temp, ColumnFamily.Chunks).Count);
        AssertSound(store, new() { [b] = rest });
    }

    [Fact]
    public void A_capture_under_way_is_left_to_the_next_run()
    {
        using var temp = new TempStore();
        var old = Text(1, 32);
        var a = new Crid(temp.Capture(old, "a").Crid);
        using var store = temp.Open();
        var slow = Text(2, 32);
        Crid b;
        using (var writer = store.BeginCapture("slow", full: true))
        {
            slow.WriteTo(writer.OpenSpace(default, null));
            temp.Capture(Text(3, 32), "fast"); // a higher CRID, committed earlier
            Assert.Equal(2UL, store.Recompress(null, default).Looked); // A's
            b = new Crid(writer.Commit(Memory.Manifest()).Crid);
        }

        Assert.True(b.Value > a.Value);
        Assert.Equal(4UL, store.Recompress(null, default).Looked);
    }

    [Fact]
    public void A_damaged_frame_stays_for_verify_to_tell()
    {
        using var temp = new TempStore();
        var memory = Text(1, 64);
        var a = new Crid(temp.Capture(memory).Crid);
        StoreSurgery.SpoilPage(temp, new ChunkLocation(a, 20));
        var before = StoreSurgery.Open(temp, db => StoreSurgery.Frame(db, new FrameId(a, 1)));
        using var store = temp.Open();
        var result = store.Recompress(null, default);
        Assert.Equal((4UL, 3UL, 1UL), (result.Looked, result.Packed, result.Damaged));
        Assert.Equal(before, StoreSurgery.Open(temp, db => StoreSurgery.Frame(db, new FrameId(a, 1))));
        using var reader = store.OpenReader();
        Assert.Equal([(Memory.Base + 20).Address], reader.Verify([], new VerifyOptions(100), null, default).Problems.Select(p => p.PageAddress!.Value));
    }

    /// <summary>Records that the database says are done.</summary>
    private static ulong Done(TempStore temp) => StoreSurgery.Open(temp, db =>
    {
        ulong count = 0;
        foreach (var what in new[] { HardPacking.Frames, HardPacking.PatchGroups })
        {
            var (crid, number) = (StoreMeta.Read(db, what.CridDone), StoreMeta.Read(db, what.NumberDone));
            using var i = db.Iterate(what.Family);
            for (var there = i.SeekToFirst(); there; there = i.Next())
                if (Keys.FrameOf(i.Key) is var id && (id.Crid.Value < crid || id.Crid.Value == crid && id.Number < number)) count++;
        }

        return count;
    });

    private static long Bytes(TempStore temp) => StoreSurgery.Open(temp, db =>
    {
        long sum = 0;
        foreach (var family in new[] { ColumnFamily.Chunks, ColumnFamily.Patches, ColumnFamily.Dictionaries })
        {
            using var i = db.Iterate(family);
            for (var there = i.SeekToFirst(); there; there = i.Next()) sum += i.Value.Length;
        }

        return sum;
    });

    /// <summary>Pages of words: what a higher level has something to find in.</summary>
    private static Memory Text(int seed, int pages)
    {
        var memory = new Memory();
        for (ulong p = 0; p < (ulong)pages; p++) memory.Set(p, Page(new Random(seed * 1000 + (int)p)));
        return memory;
    }

    private static byte[] Page(Random random)
    {
        var text = new StringBuilder();
        while (text.Length < VirtualPage.Size) text.Append(Words[random.Next(Words.Length)]).Append(random.Next(4) == 0 ? $"{random.Next(1000)}" : " ");
        return Encoding.ASCII.GetBytes(text.ToString())[..VirtualPage.Size];
    }

    /// <summary>A base, and increments of new pages and of patches.</summary>
    private static SortedDictionary<Crid, Memory> Texts(TempStore temp, int length)
    {
        var memory = Text(7, 300);
        var all = new SortedDictionary<Crid, Memory> { [new Crid(temp.Capture(memory).Crid)] = memory };
        while (all.Count < length)
        {
            var next = memory.Clone();
            var random = new Random(all.Count);
            for (var i = 0; i < 20; i++) next.Set((ulong)random.Next(300), Page(random));
            for (ulong p = 0; p < 300; p += 3)
            {
                var page = next.Pages[p].ToArray();
                for (var at = 0; at < 10; at++) Page(random).AsSpan(0, 60).CopyTo(page.AsSpan(random.Next(60) * 64));
                next.Set(p, page);
            }

            all.Add(new Crid(Chain.Increment(temp, memory, next)), memory = next);
        }

        return all;
    }

    private static void AssertSound(CheckpointStore store, SortedDictionary<Crid, Memory> chain)
    {
        Chain.AssertAll(store, chain);
        using var reader = store.OpenReader();
        var result = reader.Verify([], new VerifyOptions(100), null, default);
        Assert.Empty(result.Problems);
        Assert.Empty(result.StoreProblems);
    }

    private sealed class Sink(Action<StoreProgress> report) : IProgress<StoreProgress>
    {
        public void Report(StoreProgress value) => report(value);
    }
}
