using Crstore.Model;
using Crstore.Store.PageMaps;
using Xunit;

namespace Crstore.Tests.Store.PageMaps;

public class SegmentCacheTests
{
    private const int Bytes = 512 * 24 + 24 + 128; // of a segment in which no two pages belong together

    [Fact]
    public void It_holds_no_more_than_it_may_and_keeps_what_is_asked_for()
    {
        var cache = new SegmentCache(20 * Bytes);
        cache.Add(KeyOf(0), SegmentOf(0));
        for (var i = 1; i < 100; i++)
        {
            cache.Add(KeyOf(i), SegmentOf(i));
            Assert.InRange(cache.Count, 1, 20);
            Assert.NotNull(cache.TryGet(KeyOf(0)));
            Assert.NotNull(cache.TryGet(KeyOf(i)));
        }

        Assert.Null(cache.TryGet(KeyOf(50)));
        cache.Clear();
        Assert.Equal((0, null), (cache.Count, cache.TryGet(KeyOf(0))));
    }

    [Fact]
    public void What_is_found_out_of_a_segment_counts_as_well()
    {
        var cache = new SegmentCache(20 * Bytes);
        for (var i = 0; i < 100; i++)
        {
            var alternating = new Segment(7, [.. SegmentOf(i).Extents.Select(e => e.Start % 2 == 0 ? e : new PageExtent(e.Start, 1, PageKind.Zero, default))]);
            Assert.Equal(Segment.Pages, alternating.Kinds.Length);
            cache.Add(KeyOf(i), alternating);
            Assert.InRange(cache.Count, 1, 10);
        }
    }

    [Fact]
    public void What_is_replaced_goes_unless_the_new_one_differs_from_it()
    {
        var cache = new SegmentCache(20 * Bytes);
        cache.Add(KeyOf(0), SegmentOf(0));
        cache.Replace(new NewContent(KeyOf(0), KeyOf(1), SegmentOf(1) with { Base = KeyOf(0) }));
        Assert.Equal(2, cache.Count);
        cache.Replace(new NewContent(KeyOf(1), KeyOf(2), SegmentOf(2) with { Base = KeyOf(0) }));
        Assert.Equal(2, cache.Count);
        Assert.Null(cache.TryGet(KeyOf(1)));
        Assert.NotNull(cache.TryGet(KeyOf(0)));
    }

    [Fact]
    public void A_capture_with_all_of_its_parents_segments_at_hand_reads_none()
    {
        var segments = new MemorySegments { Kept = new SegmentCache(1 << 20) };
        PageMap? map = null;
        for (var step = 1; step <= 30; step++)
        {
            segments.Loads = 0;
            var builder = new PageMapBuilder(new Crid((ulong)step), default, map);
            for (ulong page = 0; page < 4 * Segment.Pages; page++)
            {
                if (map is null || page % 64 == (ulong)step % 64) builder.SetChunk(new VirtualPage(page), new ChunkLocation(new Crid((ulong)step), (uint)(page * 7 % 4099)));
                else builder.Keep(new PageRange(new VirtualPage(page), 1));
            }

            var result = builder.Build();
            map = segments.Store(new Crid((ulong)step), default, result);
            foreach (var content in result.Contents) segments.Kept.Replace(content);
            if (step > 2) Assert.Equal((4, 0), (result.Segments.Count, segments.Loads)); // those of the base are read once, by the second one
        }
    }

    private static SegmentKey KeyOf(int i) => new(new Crid((ulong)i + 1), default, 7);

    private static Segment SegmentOf(int i) => new(7, [.. Enumerable.Range(0, Segment.Pages)
        .Select(page => new PageExtent((ushort)page, 1, PageKind.Chunk, new ChunkLocation(new Crid((ulong)i + 1), (uint)(2 * page))))]);
}
