using Crstore.Model;
using Crstore.Store.PageMaps;
using Xunit;

namespace Crstore.Tests.Store.PageMaps;

/// <summary>The builder against a dictionary of pages, over random operations in chains of increments.</summary>
public class PageMapModelTests(ITestOutputHelper output)
{
    private readonly record struct Entry(PageKind Kind, ChunkLocation Location);

    [Theory]
    [InlineData(40, 6)]
    [InlineData(3000, 3)]
    [InlineData(2, 40)]
    public void A_chain_of_random_increments_equals_a_dictionary_of_pages(int operations, int increments)
    {
        var seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var differences = 0;
        for (var round = 0; round < 15; round++)
        {
            var random = new Random(seed + round);
            var cache = (round % 3) switch { 0 => null, 1 => new SegmentCache(1 << 20), _ => new SegmentCache(8 << 10) };
            var segments = new MemorySegments { Kept = cache };
            Dictionary<ulong, Entry> model = [];
            PageMap? map = null;
            for (uint step = 0; step < increments; step++)
            {
                var crid = new Crid(10 + step * 7);
                var space = new SpaceId((uint)random.Next(3));
                var builder = new PageMapBuilder(crid, space, map);
                var next = new Dictionary<ulong, Entry>();
                if (step % 3 == 2) KeepWhatCanBeKept(builder, model, next, new PageRange(default, 9000)); // little changes
                for (var i = 0; i < (step % 3 == 2 ? Math.Min(operations, 5) : operations); i++) Operate(random, builder, model, next, crid);
                var result = builder.Build();
                var built = segments.Store(crid, space, result);
                Remember(segments, result, crid);
                Equal(next, built, seed + round);
                CountersAgree(model, next, result.Counters, map is not null);
                if (map is not null) DiffAgrees(model, next, map, built);
                Assert.All(result.Segments, s => Assert.NotEqual(map is null ? [] : Stored(segments, map, s.Number), s.Bytes));
                differences += result.Segments.Count(s => SegmentCodec.Decode(new SegmentKey(crid, space, s.Number), s.Bytes).Base is not null);
                (map, model) = (built, next);
            }
        }

        Assert.True(differences > 0 || operations < 10, "no segment was stored as a difference");
    }

    // What is kept of a new segment is what is stored of it.
    private static void Remember(MemorySegments segments, PageMapResult result, Crid crid)
    {
        if (segments.Kept is null) Assert.Empty(result.Contents);
        var stored = new MemorySegments();
        foreach (var (key, bytes) in segments.All) stored.All.Add(key, bytes);
        foreach (var content in result.Contents)
        {
            var read = SegmentLoader.Load(stored, content.Key, crid);
            Assert.Equal(read.Extents, content.Content.Extents);
            Assert.Equal((read.Number, read.Base, read.Excess), (content.Content.Number, content.Content.Base, content.Content.Excess));
            segments.Kept!.Replace(content);
        }
    }

    private static byte[] Stored(MemorySegments segments, PageMap map, ulong number) =>
        map.EntryOf(number) is { Uniform: null } entry ? segments.All[entry.Key(number)] : [];

    private static void Operate(Random random, PageMapBuilder builder, Dictionary<ulong, Entry> old, Dictionary<ulong, Entry> next, Crid crid)
    {
        var big = random.Next(8) == 0;
        var start = (ulong)random.Next(6000);
        var count = big ? (ulong)random.Next(2500) : (ulong)random.Next(12);
        var range = new PageRange(new VirtualPage(start), count);
        switch (random.Next(6))
        {
            case 0:
                builder.SetZero(range);
                Fill(next, range, _ => new Entry(PageKind.Zero, default));
                break;
            case 1:
                builder.SetExcluded(range);
                Fill(next, range, _ => new Entry(PageKind.Excluded, default));
                break;
            case 2:
                var first = new ChunkLocation(new Crid((ulong)random.Next(1, (int)crid.Value + 1)), (uint)random.Next(5000));
                builder.SetChunks(range, first);
                Fill(next, range, i => new Entry(PageKind.Chunk, first with { Ordinal = first.Ordinal + (uint)i }));
                break;
            default:
                KeepWhatCanBeKept(builder, old, next, range);
                break;
        }
    }

    private static void KeepWhatCanBeKept(PageMapBuilder builder, Dictionary<ulong, Entry> old, Dictionary<ulong, Entry> next, PageRange range)
    {
        bool Keepable(ulong page) => old.TryGetValue(page, out var entry) && entry.Kind is PageKind.Chunk or PageKind.Zero;
        var page = range.Start.Number;
        while (page < range.End.Number)
        {
            var from = page;
            while (page < range.End.Number && Keepable(page)) page++;
            if (page > from)
            {
                var kept = PageRange.Between(new VirtualPage(from), new VirtualPage(page));
                builder.Keep(kept);
                Fill(next, kept, i => old[from + i]);
            }
            else
            {
                if (page == range.Start.Number) Assert.Throws<ArgumentException>(() => builder.Keep(new PageRange(new VirtualPage(page), 1)));
                page++;
            }
        }
    }

    private static void Fill(Dictionary<ulong, Entry> model, PageRange range, Func<ulong, Entry> entry)
    {
        for (ulong i = 0; i < range.Count; i++) model[range.Start.Number + i] = entry(i);
    }

    private static void Equal(Dictionary<ulong, Entry> model, PageMap map, int seed)
    {
        var seen = new Dictionary<ulong, Entry>();
        PageRun? last = null;
        foreach (var run in map.Spans(PageMap.Everything))
        {
            Assert.False(last is { } before && before.ContinuesInto(run), "runs must be maximal");
            Assert.True(last is null || last.Value.Range.End.Number <= run.Range.Start.Number);
            last = run;
            for (ulong i = 0; i < run.Range.Count; i++)
                seen.Add(run.Range.Start.Number + i, new Entry(run.Kind, run.LocationOf(run.Range.Start + i)));
        }

        Assert.True(model.Count == seen.Count && model.All(p => seen[p.Key] == p.Value), $"seed {seed}");
        var random = new Random(seed);
        for (var i = 0; i < 10; i++)
        {
            var page = (ulong)random.Next(9000);
            var found = map.Find(new VirtualPage(page));
            Assert.Equal(model.GetValueOrDefault(page), new Entry(found.Kind, found.First));
            var window = new PageRange(new VirtualPage(page), (ulong)random.Next(700));
            Assert.Equal((ulong)model.Keys.Count(k => window.Contains(new VirtualPage(k))),
                map.Spans(window).Aggregate(0UL, (sum, run) => sum + run.Range.Count));
        }
    }

    private static void CountersAgree(Dictionary<ulong, Entry> old, Dictionary<ulong, Entry> next, PageMapCounters counters, bool hasParent)
    {
        static bool Alike(Entry a, Entry b) => a == b || (a.Kind is PageKind.Absent or PageKind.Zero && b.Kind is PageKind.Absent or PageKind.Zero);
        var changed = hasParent ? old.Keys.Union(next.Keys).Count(p => !Alike(old.GetValueOrDefault(p), next.GetValueOrDefault(p)))
            : next.Values.Count(e => e.Kind is PageKind.Chunk or PageKind.Zero);
        Assert.Equal((ulong)next.Values.Count(e => e.Kind == PageKind.Chunk), counters.Chunks);
        Assert.Equal((ulong)next.Values.Count(e => e.Kind == PageKind.Zero), counters.Zero);
        Assert.Equal((ulong)next.Values.Count(e => e.Kind == PageKind.Excluded), counters.Excluded);
        Assert.Equal((ulong)changed, counters.Changed);
    }

    private static void DiffAgrees(Dictionary<ulong, Entry> old, Dictionary<ulong, Entry> next, PageMap before, PageMap after)
    {
        var expected = old.Keys.Union(next.Keys).Where(p => old.GetValueOrDefault(p) != next.GetValueOrDefault(p)).Order().ToList();
        var actual = new List<ulong>();
        foreach (var change in PageMapDiff.Changes(before, after))
        {
            Assert.Equal(change.Before.Range, change.After.Range);
            for (ulong i = 0; i < change.Range.Count; i++)
            {
                var page = change.Range.Start + i;
                actual.Add(page.Number);
                Assert.True(old.GetValueOrDefault(page.Number) == new Entry(change.Before.Kind, change.Before.LocationOf(page)));
                Assert.True(next.GetValueOrDefault(page.Number) == new Entry(change.After.Kind, change.After.LocationOf(page)));
            }
        }

        Assert.True(expected.SequenceEqual(actual));
        Assert.Empty(after.SegmentsDiffering(after));
    }
}
