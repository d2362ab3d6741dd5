using Crstore.Capture.Freezing;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
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
        var found = new RunList<PageRun>();
        scanner.Scan(PageRange.OfAddresses(memory.Address, memory.Address + (ulong)memory.SizeBytes), fileMapping: false, found);

        var expected = Enumerable.Range(0, runs).Select(i => VirtualPage.Of(memory.Address) + (ulong)(2 * i));
        Assert.Equal(expected, found.SelectMany(run => Enumerable.Range(0, (int)run.Range.Count).Select(i => run.Range.Start + (ulong)i)));
    }

    [Fact]
    public void Scanning_for_changes_tells_of_every_page_what_a_scan_of_all_pages_tells()
    {
        Requires.That(KernelProbes.Current.UffdWriteProtect, "userfaultfd with asynchronous write protection");
        const int pages = 4 * 512;
        var random = Seeds.Random();
        using var memory = new MappedMemory(pages * VirtualPage.Size, huge: true);
        var range = PageRange.OfAddresses(memory.Address, memory.Address + (ulong)memory.SizeBytes);
        using var uffd = Userfaultfd.TryCreate(out _)!;
        Assert.Equal(0, uffd.EnableAsyncWriteProtect());
        Assert.Equal(0, uffd.Register(memory.Address, (ulong)memory.SizeBytes));
        using var scanner = new PagemapScanScanner(Environment.ProcessId, KernelProbes.Current.PagemapScanCategories);
        using var crew = new FreezeCrew();
        using var away = new AwayWalk();
        var vma = new PlannedVma
        {
            Entry = new MapsEntry(memory.Address, memory.Address + (ulong)memory.SizeBytes, MemoryProtection.Read | MemoryProtection.Write, false, 0, default, 0, ""),
            VmFlags = "",
            Content = VmaContent.Saved,
            Policy = ReadPolicy.Populated,
            Trackable = true,
        };
        var kinds = new HashSet<PageCategories>();
        var (fast, slow) = (0, 0);
        for (var round = 0; round < 60; round++)
        {
            for (var i = 0; i < 40; i++)
            {
                var first = random.Next(pages);
                var count = Math.Min(random.Next(random.Next(4) == 0 ? 900 : 4) + 1, pages - first);
                if (random.Next(3) == 0) memory.Release(first * VirtualPage.Size, count * VirtualPage.Size);
                else
                    for (var page = first; page < first + count; page++)
                        if (i % 2 == 0) memory.GetSpan()[page * VirtualPage.Size]++;
                        else Assert.InRange(memory.GetSpan()[page * VirtualPage.Size], 0, 255); // maps the zero page
            }

            var all = new RunList<PageRun>();
            scanner.Scan(range, fileMapping: false, all);
            var changes = new RunList<PageRun>();
            away.Begin(Environment.ProcessId, [vma], crew);
            away.Complete();
            for (ulong at = 0; at < pages; at += 64)
            {
                var piece = new PageRange(range.Start + at, 64);
                var written = new RunList<PageRun>();
                var inMemory = away.IsOwnMemory(piece);
                Assert.True(inMemory ? scanner.TryScanWrittenOfPresent(piece, protect: true, written) : scanner.TryScanWritten(piece, protect: true, written));
                (fast, slow) = (fast + (inMemory ? 1 : 0), slow + (inMemory ? 0 : 1));
                away.Merge(piece, written, changes);
            }

            Assert.Equal(PerPage(all), PerPage(changes));
            foreach (var run in changes) kinds.Add(run.Flags & ~PageCategories.Huge);
        }

        Assert.Contains(PageCategories.Present, kinds);
        Assert.Contains(PageCategories.Present | PageCategories.Written, kinds);
        Assert.Contains(PageCategories.Present | PageCategories.Written | PageCategories.ZeroFrame, kinds);
        Assert.True(fast > 0 && slow > 0, $"{fast} pieces known to be in memory, {slow} not");
    }

    [Theory]
    [InlineData("6.7.12", false)]
    [InlineData("6.8.0-31-generic", false)]
    [InlineData("6.9", true)]
    [InlineData("6.10.11+bpo-amd64", true)]
    [InlineData("6.18.0", true)]
    [InlineData("7.0.0-1-cloud", true)]
    [InlineData("5.19", false)]
    [InlineData("unknown", false)]
    [InlineData("6.x", false)]
    public void Kernels_that_take_a_bit_of_a_swapped_page_for_its_protection_are_not_asked_the_fast_way(string release, bool believed) =>
        Assert.Equal(believed, KernelProbes.KnowsSwapped(release));

    [Fact]
    public void A_page_that_is_not_in_memory_after_all_counts_as_written_once_and_again_when_it_is_written()
    {
        Requires.That(KernelProbes.Current.UffdWriteProtect, "userfaultfd with asynchronous write protection");
        using var memory = new MappedMemory(16 * VirtualPage.Size, huge: false);
        memory.GetSpan().Fill(7);
        using var uffd = Userfaultfd.TryCreate(out _)!;
        Assert.Equal(0, uffd.EnableAsyncWriteProtect());
        Assert.Equal(0, uffd.Register(memory.Address, (ulong)memory.SizeBytes));
        using var scanner = new PagemapScanScanner(Environment.ProcessId, KernelProbes.Current.PagemapScanCategories);
        var range = PageRange.OfAddresses(memory.Address, memory.Address + (ulong)memory.SizeBytes);
        Assert.Equal(16UL, Written());
        Assert.Equal(0UL, Written());
        memory.Release(4 * VirtualPage.Size, VirtualPage.Size); // as the kernel may take back what is MADV_FREE
        Assert.Equal(1UL, Written());
        Assert.Equal(0, memory.GetSpan()[4 * VirtualPage.Size]);
        Assert.Equal(0UL, Written());
        memory.GetSpan()[4 * VirtualPage.Size] = 1;
        Assert.Equal(1UL, Written());

        ulong Written()
        {
            var runs = new RunList<PageRun>();
            Assert.True(scanner.TryScanWrittenOfPresent(range, protect: true, runs));
            return runs.Aggregate(0UL, (sum, run) => sum + run.Range.Count);
        }
    }

    // Of a clean page nobody needs to know whether it is the zero page.
    private static IEnumerable<(VirtualPage Page, PageCategories Flags)> PerPage(RunList<PageRun> runs) => runs.SelectMany(run =>
        Enumerable.Range(0, (int)run.Range.Count).Select(i => (run.Range.Start + (ulong)i,
            (run.Flags & PageCategories.Written) != 0 ? run.Flags : run.Flags & ~PageCategories.ZeroFrame)));

    [Fact]
    public void The_huge_zero_page_is_told_by_the_scanner_that_soft_dirty_uses()
    {
        Requires.That(KernelProbes.Current.ZeroFrames.Huge != 0, "a huge zero page, and frame numbers");
        const int huge = 2 * 1024 * 1024;
        using var memory = new MappedMemory(2 * huge, huge: true);
        var offset = (int)((huge - memory.Address % huge) % huge);
        Assert.Equal(0, memory.GetSpan()[offset]);
        using var scanner = KernelProbes.Current.OpenScanner(Environment.ProcessId, needSoftDirty: true);
        var found = new RunList<PageRun>();
        scanner.Scan(PageRange.OfAddresses(memory.Address + (ulong)offset, memory.Address + (ulong)offset + huge), fileMapping: false, found);
        Assert.Equal(512UL, Assert.Single(found).Range.Count);
        Assert.NotEqual(PageCategories.None, found[0].Flags & PageCategories.ZeroFrame);
        Assert.True(KernelProbes.Current.ZeroPageTellable);
    }
}
