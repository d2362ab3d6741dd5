using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Maintenance;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

public sealed class CompactionRangesTests
{
    private const ulong Gibibyte = (1UL << 30) / VirtualPage.Size;

    [Fact]
    public void One_range_holds_no_more_than_a_gibibyte_of_live_pages()
    {
        var live = new ChunkMarks();
        var touched = Enumerable.Range(0, 100_000).Select(i => new FrameId(new Crid(1), (uint)i)).ToList();
        foreach (var frame in touched) live.Add(frame, 0xff);
        var ranges = CompactionRanges.Around(touched, live);
        Assert.Equal(4, ranges.Count); // 800 000 live pages
        Assert.All(ranges, r => Assert.InRange(((ulong)(r.To.Number - r.From.Number) + 1) * 8, 1UL, Gibibyte + 8));
        Assert.Equal(touched.Count, ranges.Sum(r => r.To.Number - r.From.Number + 1));
    }

    [Fact]
    public void Where_nothing_lives_the_range_goes_on()
    {
        var live = new ChunkMarks();
        var touched = new List<FrameId>();
        for (uint i = 0; i < 40_000; i++)
        {
            live.Add(new FrameId(new Crid(1), i), 0xff);
            touched.Add(new FrameId(new Crid(1), i));
        }

        for (ulong crid = 2; crid < 50; crid++) touched.AddRange([new FrameId(new Crid(crid), 0), new FrameId(new Crid(crid), uint.MaxValue)]);
        var range = CompactionRanges.Around(touched, live)[^1];
        Assert.Equal((new Crid(1), new Crid(49)), (range.From.Crid, range.To.Crid));
    }
}
