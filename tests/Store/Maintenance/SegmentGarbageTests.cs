using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Maintenance;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Tests.Store.Stores;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>gc, forget and verify where page-map segments are stored as what differs from older ones.</summary>
public sealed class SegmentGarbageTests
{
    private const int Pages = 512 * 3;
    private static readonly GcOptions Now = new(false, TimeSpan.FromMinutes(10));

    [Fact]
    public void Forgotten_in_any_order_the_others_read_on_and_in_the_end_no_segment_is_left()
    {
        var random = Seeds.Random();
        using var temp = new TempStore();
        var chain = Scattered(temp, random, 14);
        Assert.True(Differences(temp) > 10, "hardly any segment was stored as a difference");
        using var store = temp.Open();
        while (chain.Count > 0)
        {
            foreach (var victim in chain.Keys.OrderBy(_ => random.Next()).Take(random.Next(1, 5)).ToList())
            {
                store.Forget([victim], dryRun: false);
                chain.Remove(victim);
            }

            store.CollectGarbage(Now, null, default);
            Chain.AssertAll(store, chain);
            using var reader = store.OpenReader();
            Assert.Empty(reader.Verify([], new VerifyOptions(0), null, default).Problems);
        }

        Assert.Empty(StoreSurgery.AllKeys(temp, ColumnFamily.Maps));
    }

    [Fact]
    public void A_segment_stays_as_long_as_others_differ_from_it_but_not_the_pages_that_only_it_names()
    {
        using var temp = new TempStore();
        var (a, b, c, memory) = Three(temp);
        using var store = temp.Open();
        store.Forget([a, b], dryRun: false);
        StoreSurgery.Open(temp, db =>
        {
            var marks = Reachability.Mark(db, null, default);
            Assert.Equal((new SegmentKey(c, default, Number), new SegmentKey(b, default, Number)), (Assert.Single(marks.Segments), Assert.Single(marks.Bases)));
            Assert.Equal(512UL, marks.Chunks.Count);
            return true;
        });
        Assert.Equal(1UL, store.CollectGarbage(Now, null, default).SegmentsFreed); // A's
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(c)) memory.AssertEquals(image);
        store.Forget([c], dryRun: false);
        Assert.Equal(2UL, store.CollectGarbage(Now, null, default).SegmentsFreed);
    }

    [Fact]
    public void A_checkpoint_that_is_again_what_its_parents_segment_differs_from_keeps_that_one_and_all_its_pages()
    {
        using var temp = new TempStore();
        var (a, b, c, memory) = Three(temp);
        var back = memory.Clone();
        for (var p = 0; p < 500; p += 50) back.Fill(1000 + p, p, 1); // as in B
        var d = new Crid(Chain.Increment(temp, memory, back));
        using var store = temp.Open();
        store.Forget([a, b, c], dryRun: false);
        Assert.Equal(2UL, store.CollectGarbage(Now, null, default).SegmentsFreed); // A's and C's
        using var reader = store.OpenReader();
        using (var image = reader.OpenImage(d)) back.AssertEquals(image);
        Assert.Empty(reader.Verify([], new VerifyOptions(100), null, default).Problems);
    }

    [Fact]
    public async Task A_capture_whose_segments_differ_from_what_is_forgotten_and_collected_meanwhile_commits_and_restores()
    {
        using var temp = new TempStore();
        var (a, b, c, memory) = Three(temp);
        using var store = temp.Open();
        var last = memory.Clone();
        last.Fill(77, 100, 1);
        Task<GcResult> gc;
        Crid d;
        using (var writer = store.BeginCapture("s", full: false))
        {
            var space = writer.OpenSpace(new SpaceId(0), new SpaceId(0));
            last.Keep(space, p => p != 100);
            last.WriteTo(space, [100]);
            store.Forget([a, b, c], dryRun: false);
            gc = Task.Run(() => store.CollectGarbage(Now, null, default));
            while (StoreSurgery.HasIndex(temp) && !gc.IsCompleted) Thread.Sleep(20); // the first look has condemned all there is
            Assert.False(gc.IsCompleted);
            d = new Crid(writer.Commit(Memory.Manifest()).Crid);
        }

        await gc;
        Assert.Equal(new SegmentKey(b, default, Number), Load(temp, d).Base);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(d);
        last.AssertEquals(image);
        Assert.Empty(reader.Verify([], new VerifyOptions(100), null, default).Problems);
    }

    [Fact]
    public void Verify_names_all_whose_segments_differ_from_a_damaged_one_and_gc_stops()
    {
        using var temp = new TempStore();
        var (a, b, c, _) = Three(temp);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            var key = Key(b);
            var bytes = db.Get(ColumnFamily.Maps, key)!;
            bytes[20] ^= 4;
            batch.Put(ColumnFamily.Maps, key, bytes);
        });
        using var store = temp.Open();
        using (var reader = store.OpenReader())
        {
            var result = reader.Verify([], new VerifyOptions(0), null, default);
            Assert.Equal([a], result.Whole);
            Assert.Equal([b, c], result.Broken);
            var problem = Assert.Single(result.Problems, p => p.Crid == c);
            Assert.Equal((42, Memory.Base.Address), (problem.Pid, problem.PageAddress));
            Assert.Contains($"of CRID {b}, space 0: wrong checksum", problem.Text);
            Assert.Equal([c], reader.Verify([c], new VerifyOptions(0), null, default).Broken); // also when B is not asked for
        }

        store.Forget([b], dryRun: false);
        Assert.Contains("wrong checksum", Assert.Throws<StoreDamagedException>(() => store.CollectGarbage(Now, null, default)).Message);
        store.Forget([c], dryRun: false);
        Assert.True(store.CollectGarbage(Now, null, default).ChunksFreed > 0);
    }

    private static ulong Number => Segment.NumberOf(Memory.Base);

    private static byte[] Key(Crid crid)
    {
        var key = new byte[Keys.SegmentSize];
        Keys.Segment(crid, default, Number, key);
        return key;
    }

    private static StoredSegment Load(TempStore temp, Crid crid) => StoreSurgery.Open(temp, db =>
        SegmentCodec.Decode(new SegmentKey(crid, default, Number), db.Get(ColumnFamily.Maps, Key(crid))));

    /// <summary>A full segment of one run, one with every other page changed, and one that differs from that in ten pages.</summary>
    private static (Crid A, Crid B, Crid C, Memory Last) Three(TempStore temp)
    {
        var memory = Memory.Random(1, 512);
        var a = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (var p = 0; p < 512; p += 2) next.Fill(1000 + p, p, 1);
        var b = new Crid(Chain.Increment(temp, memory, next));
        var last = next.Clone();
        for (var p = 0; p < 500; p += 50) last.Fill(2000 + p, p, 1);
        var c = new Crid(Chain.Increment(temp, next, last));
        Assert.Null(Load(temp, b).Base);
        Assert.Equal(new SegmentKey(b, default, Number), Load(temp, c).Base);
        return (a, b, c, last);
    }

    /// <summary>A chain whose increments touch some pages anywhere.</summary>
    private static SortedDictionary<Crid, Memory> Scattered(TempStore temp, Random random, int length)
    {
        var memory = Memory.Random(random.Next(), Pages);
        var all = new SortedDictionary<Crid, Memory> { [new Crid(temp.Capture(memory).Crid)] = memory };
        while (all.Count < length)
        {
            var next = memory.Clone();
            for (var i = 0; i < 40; i++) next.Touch((ulong)random.Next(Pages), random);
            all.Add(new Crid(Chain.Increment(temp, memory, next)), memory = next);
        }

        return all;
    }

    private static int Differences(TempStore temp) => StoreSurgery.Open(temp, db =>
    {
        var count = 0;
        using var i = db.Iterate(ColumnFamily.Maps);
        for (var there = i.SeekToFirst(); there; there = i.Next())
        {
            var (crid, space, segment) = MapScan.Split(i.Key);
            if (segment is { } number && SegmentCodec.Decode(new SegmentKey(crid, space, number), i.Value).Base is not null) count++;
        }

        return count;
    });
}
