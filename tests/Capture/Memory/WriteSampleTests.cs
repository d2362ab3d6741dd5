using System.Globalization;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>How much of its memory a running process changes, by a sample.</summary>
public sealed class WriteSampleTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(500)]
    [InlineData(2000)]
    [InlineData(4000)]
    public void As_many_pages_of_the_sample_as_of_the_memory_have_changed(int written)
    {
        const int pages = 4096;
        using var target = TargetProcess.Start("pattern_writer", $"{pages >> 8}", $"{Seeds.Next()}");
        var first = VirtualPage.Of(ulong.Parse(target.Expect("ready ").Split(' ')[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
        // In uneven parts.
        using var sample = new WriteSample(target.Pid, [new PageRange(first, 7), new PageRange(first + 7, 1), new PageRange(first + 8, 3000), new PageRange(first + 3008, pages - 3008)]);
        Assert.Equal(WriteSample.MaxPages, sample.Count);
        if (written > 0) target.Ask($"write-range 0 {written}");
        Assert.InRange(sample.CountChanged(), WriteSample.MaxPages * written / pages - 1, WriteSample.MaxPages * written / pages + 1); // one from each share of 8 pages
    }

    [Fact]
    public void What_is_not_there_any_more_has_changed_and_is_not_made_by_looking()
    {
        using var target = TrapTests.Started();
        var area = VirtualPage.Of(TrapTests.Area(target.Ask("map a 100")));
        using var sample = new WriteSample(target.Pid, [new PageRange(area, 100)]);
        Assert.Equal((100, 0), (sample.Count, sample.CountChanged()));
        target.Ask("discard a 10 30");
        Assert.Equal(30, sample.CountChanged());
        using var pagemap = Pagemap.Open(target.Pid);
        var entries = new ulong[100];
        Assert.Equal(100, pagemap.Read(area, entries));
        for (var i = 0; i < 100; i++) Assert.Equal(i is < 10 or >= 40, new PagemapEntry(entries[i]).Present);
    }
}
