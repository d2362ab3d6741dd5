using Crstore.Model;
using Crstore.Store;
using Crstore.Store.PageMaps;
using Xunit;

namespace Crstore.Tests.Store.PageMaps;

public class PageMapBuilderTests
{
    private static readonly SpaceId Space = new(0);

    [Fact]
    public void An_increment_stores_only_the_segments_that_changed()
    {
        var segments = new MemorySegments();
        var parent = Base(segments, 512 * 512);
        var builder = new PageMapBuilder(new Crid(2), Space, parent);
        builder.Keep(Range(0, 512 * 512));
        builder.SetChunk(new VirtualPage(512 * 100 + 7), Chunk(2, 0));
        builder.SetChunk(new VirtualPage(512 * 300), Chunk(2, 1));
        var result = builder.Build();
        Assert.Equal([100UL, 300UL], result.Segments.Select(s => s.Number));
        Assert.Equal(2UL, result.Counters.Changed);
        Assert.Equal(512UL * 512, result.Counters.Logical);
        Assert.InRange(result.Root.Length, 1, 60);
        var map = segments.Store(new Crid(2), Space, result);
        Assert.Equal([1UL, 2, 1, 2, 1], map.Entries.Select(e => e.Writer.Value));
    }

    [Fact]
    public void A_segment_written_anew_with_the_same_content_is_the_parents()
    {
        var segments = new MemorySegments();
        var parent = Base(segments, 2048);
        var builder = new PageMapBuilder(new Crid(2), new SpaceId(5), parent);
        builder.SetChunks(Range(0, 2048), Chunk(1, 0)); // a rescan by hash found every page in the index
        var result = builder.Build();
        Assert.Empty(result.Segments);
        Assert.Equal(0UL, result.Counters.Changed);
        var map = segments.Store(new Crid(2), new SpaceId(5), result);
        Assert.Equal(new RootEntry(0, 4, null, new Crid(1), Space), Assert.Single(map.Entries));
        Assert.Equal(Chunk(1, 2047), map.Find(new VirtualPage(2047)).First);
    }

    [Fact]
    public void The_cost_of_reading_does_not_grow_with_the_chain()
    {
        var segments = new MemorySegments();
        var map = Base(segments, 512 * 64);
        var random = new Random(4);
        for (uint step = 2; step < 200; step++)
        {
            var builder = new PageMapBuilder(new Crid(step), Space, map);
            builder.Keep(Range(0, 512 * 64));
            builder.SetChunk(new VirtualPage((ulong)random.Next(512 * 64)), Chunk(step, 0));
            map = segments.Store(new Crid(step), Space, builder.Build());
        }

        segments.Loads = 0;
        Assert.Equal(512UL * 64, map.Spans(PageMap.Everything).Aggregate(0UL, (sum, run) => sum + run.Range.Count));
        Assert.InRange(segments.Loads, 64, 2 * 64); // one hop at most
    }

    [Fact]
    public void Changes_anywhere_cost_what_they_are_and_not_what_the_map_is()
    {
        const int Count = 32;
        var segments = new MemorySegments();
        var map = Base(segments, 512 * Count);
        var random = new Random(5);
        ulong written = 0, full = 0, fulls = 0, lastWritten = 0;
        for (uint step = 2; step < 150; step++)
        {
            var builder = new PageMapBuilder(new Crid(step), Space, map);
            builder.Keep(Range(0, 512 * Count));
            foreach (var page in Enumerable.Range(0, 5 * Count).Select(_ => (ulong)random.Next(512 * Count)).Distinct()) builder.SetChunk(new VirtualPage(page), Chunk(step, (uint)page));
            var result = builder.Build();
            map = segments.Store(new Crid(step), Space, result);
            lastWritten = 0;
            foreach (var segment in result.Segments)
            {
                var key = new SegmentKey(new Crid(step), Space, segment.Number);
                if (SegmentCodec.Decode(key, segment.Bytes).Base is { } from) Assert.Null(SegmentCodec.Decode(from, segments.All[from]).Base);
                else fulls++;
                lastWritten += (ulong)segment.Bytes.Length;
                full += (ulong)SegmentCodec.Encode(key, map.Load(key).Extents).Length;
            }

            written += lastWritten;
        }

        Assert.InRange(written, 1UL, full / 3);
        Assert.InRange(fulls, (ulong)Count, 148UL * Count / 5); // when the differences have become dear, and not before
    }

    [Fact]
    public void Where_the_same_pages_change_again_and_again_no_segment_is_written_in_full_again()
    {
        var segments = new MemorySegments();
        var map = Base(segments, 512);
        for (uint step = 2; step < 200; step++)
        {
            var builder = new PageMapBuilder(new Crid(step), Space, map);
            builder.Keep(Range(0, 512));
            var stride = step == 2 ? 1UL : 16; // first all of them, so that there is much that a difference can leave out
            for (ulong page = 0; page < 512; page += stride) builder.SetChunk(new VirtualPage(page), Chunk(step, (uint)(page * 7 % 512)));
            var segment = Assert.Single(builder.Build().Segments);
            map = segments.Store(new Crid(step), Space, builder.Build());
            var from = SegmentCodec.Decode(new SegmentKey(new Crid(step), Space, 0), segment.Bytes).Base;
            Assert.Equal(step == 2 ? null : new SegmentKey(new Crid(2), Space, 0), from);
        }
    }

    [Fact]
    public void A_segment_that_is_again_what_it_differed_from_is_that_one()
    {
        var segments = new MemorySegments();
        var map = Base(segments, 512);
        RootEntry? full = null;
        for (uint step = 2; step < 6; step++)
        {
            var builder = new PageMapBuilder(new Crid(step), new SpaceId(step), map);
            builder.Keep(Range(0, 512));
            if (step == 2)
                for (ulong page = 0; page < 512; page += 2) builder.SetChunk(new VirtualPage(page), Chunk(2, (uint)page)); // much that a difference can leave out
            else builder.SetChunk(new VirtualPage(100), step % 2 == 1 ? Chunk(step, 0) : Chunk(2, 100)); // another content, and the old one, found in the index
            var result = builder.Build();
            map = segments.Store(new Crid(step), new SpaceId(step), result);
            full ??= Assert.Single(map.Entries);
            if (step % 2 == 1) Assert.NotNull(map.Load(new SegmentKey(new Crid(step), new SpaceId(step), 0)).Base);
            else Assert.Equal((full, step == 2 ? 1 : 0, 512UL), (Assert.Single(map.Entries), result.Segments.Count, result.Counters.Logical));
        }
    }

    [Fact]
    public void A_difference_from_something_missing_or_from_a_difference_is_damage()
    {
        var segments = new MemorySegments();
        var map = Base(segments, 512);
        for (uint step = 2; step < 5; step++)
        {
            var builder = new PageMapBuilder(new Crid(step), Space, map);
            builder.Keep(Range(0, 512));
            for (ulong page = step; page < 512; page += step == 2 ? 2UL : 50) builder.SetChunk(new VirtualPage(page), Chunk(step, (uint)page));
            map = segments.Store(new Crid(step), Space, builder.Build());
        }

        var (full, difference, last) = (new SegmentKey(new Crid(2), Space, 0), new SegmentKey(new Crid(3), Space, 0), new SegmentKey(new Crid(4), Space, 0));
        Assert.Equal(full, map.Load(last).Base);
        Assert.Equal(full, SegmentCodec.Decode(difference, segments.All[difference]).Base);
        var whole = segments.All[full];
        segments.All.Remove(full);
        var error = Assert.Throws<StoreDamagedException>(() => new PageMap(new Crid(4), Space, RootOf(map), segments).Find(new VirtualPage(1)));
        Assert.Contains($"{full}, which {last} differs from, is missing", error.Message);
        segments.All[full] = whole[..^1];
        error = Assert.Throws<StoreDamagedException>(() => new PageMap(new Crid(4), Space, RootOf(map), segments).Find(new VirtualPage(1)));
        Assert.Contains($"{last}: what it differs from: {full}: wrong checksum", error.Message);
        var writer = new Crstore.Store.Codec.ByteWriter();
        SegmentCodec.EncodeDifference(last, new StoredSegment(difference, [new PageExtent(3, 1, PageKind.Zero, default)]), writer);
        segments.All[full] = whole;
        segments.All[last] = writer.Written.ToArray();
        error = Assert.Throws<StoreDamagedException>(() => new PageMap(new Crid(4), Space, RootOf(map), segments).Find(new VirtualPage(1)));
        Assert.Contains("a difference itself", error.Message);
    }

    [Fact]
    public void A_difference_loads_only_segments_that_differ()
    {
        var segments = new MemorySegments();
        var parent = Base(segments, 512 * 512);
        var builder = new PageMapBuilder(new Crid(2), Space, parent);
        builder.Keep(Range(0, 512 * 512));
        builder.SetZero(Range(512 * 9 + 3, 4));
        var child = segments.Store(new Crid(2), Space, builder.Build());
        segments.Loads = 0;
        var fresh = new PageMap(new Crid(1), Space, RootOf(parent), segments);
        var change = Assert.Single(PageMapDiff.Changes(fresh, child));
        Assert.Equal(Range(512 * 9 + 3, 4), change.Range);
        Assert.Equal(PageKind.Zero, change.After.Kind);
        Assert.InRange(segments.Loads, 1, 2);
    }

    [Fact]
    public void A_huge_range_of_alike_pages_costs_one_root_entry()
    {
        var builder = new PageMapBuilder(new Crid(1), Space, null);
        builder.SetExcluded(Range(5, 1UL << 40));
        builder.SetZero(Range(1UL << 41, 1UL << 40));
        var result = builder.Build();
        Assert.Equal(2, result.Segments.Count);
        Assert.Equal(new PageMapCounters(0, 1UL << 40, 1UL << 40, 1UL << 40), result.Counters);
        var segments = new MemorySegments();
        var map = segments.Store(new Crid(1), Space, result);
        Assert.Equal([Range(5, 1UL << 40), Range(1UL << 41, 1UL << 40)], map.Spans(PageMap.Everything).Select(r => r.Range));
        var next = new PageMapBuilder(new Crid(2), Space, map);
        next.Keep(Range(1UL << 41, 1UL << 40));
        var kept = next.Build();
        Assert.Equal(1UL << 40, kept.Counters.Zero);
        Assert.Equal(1UL << 40, kept.Counters.Changed); // the excluded ones are gone
    }

    [Fact]
    public void A_million_single_pages_and_one_range_of_a_million_give_the_same_map()
    {
        const int Pages = 1 << 20;
        var single = new PageMapBuilder(new Crid(1), Space, null);
        var order = Enumerable.Range(0, Pages).ToArray();
        new Random(7).Shuffle(order);
        foreach (var page in order) single.SetChunk(new VirtualPage((ulong)page), Chunk(1, (uint)page));
        var range = new PageMapBuilder(new Crid(1), Space, null);
        range.SetChunks(Range(0, Pages), Chunk(1, 0));
        var (a, b) = (single.Build(), range.Build());
        Assert.Equal(b.Root, a.Root);
        Assert.Equal(2048, a.Segments.Count);
        Assert.True(a.Segments.Zip(b.Segments).All(p => p.First.Bytes.AsSpan().SequenceEqual(p.Second.Bytes)));
    }

    [Fact]
    public void Keeping_what_the_parent_does_not_have_is_the_callers_mistake()
    {
        var segments = new MemorySegments();
        var first = new PageMapBuilder(new Crid(1), Space, null);
        Assert.Throws<ArgumentException>(() => first.Keep(Range(0, 1)));
        first.SetChunks(Range(10, 10), Chunk(1, 0));
        first.SetExcluded(Range(20, 1));
        first.SetZero(Range(21, 5));
        var parent = segments.Store(new Crid(1), Space, first.Build());
        var second = new PageMapBuilder(new Crid(2), Space, parent);
        second.Keep(Range(10, 10));
        second.Keep(Range(21, 5));
        second.Keep(Range(500, 0));
        Assert.Contains("0x14000", Assert.Throws<ArgumentException>(() => second.Keep(Range(10, 16))).Message);
        Assert.Throws<ArgumentException>(() => second.Keep(Range(9, 2)));
        Assert.Throws<ArgumentException>(() => second.Keep(Range(25, 2)));
        Assert.Throws<ArgumentException>(() => second.Keep(Range(9000, 1)));
        Assert.Equal(15UL, second.Build().Counters.Logical);
    }

    [Fact]
    public void Impossible_operations_are_refused()
    {
        var builder = new PageMapBuilder(new Crid(1), Space, null);
        Assert.Throws<ArgumentException>(() => builder.SetZero(Range(FormatLimits.Default.MaxPageNumber, 1)));
        Assert.Throws<ArgumentException>(() => builder.SetZero(Range(5, ulong.MaxValue)));
        Assert.Throws<ArgumentException>(() => builder.SetChunks(Range(0, 2), Chunk(1, uint.MaxValue)));
        Assert.Throws<ArgumentException>(() => builder.SetChunk(new VirtualPage(1), Chunk(0, 1)));
        builder.SetChunk(new VirtualPage(FormatLimits.Default.MaxPageNumber - 1), Chunk(1, uint.MaxValue));
        Assert.Equal(1UL, builder.Build().Counters.Chunks);
    }

    [Fact]
    public void A_missing_or_foreign_segment_is_damage_that_names_CRID_and_address()
    {
        var segments = new MemorySegments();
        var map = Base(segments, 2048);
        var key = new SegmentKey(new Crid(1), Space, 2);
        segments.All[key] = segments.All[key with { Number = 1 }];
        var fresh = new PageMap(new Crid(1), Space, RootOf(map), segments);
        Assert.Contains("0x400000-0x600000 of CRID 1", Assert.Throws<StoreDamagedException>(() => fresh.Find(new VirtualPage(1024))).Message);
        segments.All.Remove(key);
        Assert.Contains("missing", Assert.Throws<StoreDamagedException>(() => fresh.Spans(Range(1000, 100)).ToList()).Message);
        fresh.Find(new VirtualPage(100));
    }

    private static byte[] RootOf(PageMap map) => RootCodec.Encode(map.Crid, map.Space, [.. map.Entries]);

    private static PageMap Base(MemorySegments segments, ulong pages)
    {
        var builder = new PageMapBuilder(new Crid(1), Space, null);
        builder.SetChunks(Range(0, pages), Chunk(1, 0));
        return segments.Store(new Crid(1), Space, builder.Build());
    }

    private static PageRange Range(ulong start, ulong count) => new(new VirtualPage(start), count);

    private static ChunkLocation Chunk(uint crid, uint ordinal) => new(new Crid(crid), ordinal);
}
