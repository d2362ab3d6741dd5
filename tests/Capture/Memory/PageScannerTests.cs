using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>PAGEMAP_SCAN over more runs than the kernel's own buffer holds (512), and more than ours (8192).</summary>
public sealed class PageScannerTests
{
    [Theory]
    [InlineData(300)]
    [InlineData(600)]
    [InlineData(3000)]
    [InlineData(20000)]
    public void Every_populated_page_is_reported_exactly_once(int runs)
    {
        Requires.That(KernelProbes.Current.PagemapScan, "PAGEMAP_SCAN");
        using var memory = new MappedMemory(2 * runs * VirtualPage.Size, huge: false);
        for (var i = 0; i < runs; i++) memory.GetSpan()[2 * i * VirtualPage.Size] = 1;
        using var scanner = new PagemapScanScanner(Environment.ProcessId, KernelProbes.Current.PagemapScanCategories);
        var found = new List<PageRun>();
        scanner.Scan(PageRange.OfAddresses(memory.Address, memory.Address + (ulong)memory.SizeBytes), fileMapping: false, found);

        var expected = Enumerable.Range(0, runs).Select(i => VirtualPage.Of(memory.Address) + (ulong)(2 * i));
        Assert.Equal(expected, found.SelectMany(run => Enumerable.Range(0, (int)run.Range.Count).Select(i => run.Range.Start + (ulong)i)));
    }

    [Fact]
    public void The_huge_zero_page_is_told_by_the_scanner_that_soft_dirty_uses()
    {
        Requires.That(KernelProbes.Current.ZeroFrames.Huge != 0, "a huge zero page, and frame numbers");
        const int huge = 2 * 1024 * 1024;
        using var memory = new MappedMemory(2 * huge, huge: true);
        var offset = (int)((huge - memory.Address % huge) % huge);
        Assert.Equal(0, memory.GetSpan()[offset]);
        using var scanner = KernelProbes.Current.OpenScanner(Environment.ProcessId, needSoftDirty: true);
        var found = new List<PageRun>();
        scanner.Scan(PageRange.OfAddresses(memory.Address + (ulong)offset, memory.Address + (ulong)offset + huge), fileMapping: false, found);
        Assert.Equal(512UL, Assert.Single(found).Range.Count);
        Assert.NotEqual(PageCategories.None, found[0].Flags & PageCategories.ZeroFrame);
        Assert.True(KernelProbes.Current.ZeroPageTellable);
    }
}
