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
}
