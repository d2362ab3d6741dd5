using Crstore.Capture.Freezing;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>
/// What becomes of memory that was all there when the capture was prepared, between that look and the freeze. Every image is compared page by page with an independent reading in the same freeze
/// (<see cref="Witness"/>).
/// </summary>
public sealed class SolidMemoryTests
{
    private const ulong Page = 4096;
    private const int Pages = 8192;

    [Theory]
    [InlineData("prot", "discard a 700 1")] // a page
    [InlineData("prot", "discard a 1024 1")] // the first one of a page table
    [InlineData("prot", "discard a 2048 1024")] // page tables, and all that is in them
    [InlineData("thp", "discard a 2048 1024")]
    [InlineData("prot", "discard a 2048 1024", "fill a 2048 1")] // a new page table, nearly empty
    [InlineData("thp", "discard a 2048 1024", "fill a 2048 1")]
    [InlineData("prot", "discard a 2000 700", "read a 2000 700")] // the zero page instead
    [InlineData("thp", "discard a 2048 512", "read a 2048 512")]
    [InlineData("prot", "discard a 2000 700", "fill a 2100 300")]
    [InlineData("prot", "over a 2048 1024")] // another mapping there
    [InlineData("prot", "part a 4096", "rejoin a")] // moved away and back
    [InlineData("thp", "part a 4096", "fill a 2 1")] // moved away
    [InlineData("prot", "unmap a")]
    [InlineData("prot", "advise a 2000 700 free", "advise a 2000 700 pageout")] // dropped by the kernel
    [InlineData("thp", "advise a 2048 1024 free", "advise a 2048 1024 pageout")] // with their page tables
    [InlineData("prot", "advise a 2000 700 free", "fill a 2100 300", "advise a 2000 700 pageout")]
    [InlineData("thp", "advise a 2000 700 free", "fill a 2100 300", "advise a 2000 700 pageout", "read a 2000 700")]
    [InlineData("prot", "advise a 2048 1024 collapse", "fill a 2500 3")]
    [InlineData("thp", "discard a 2100 3", "fill a 2048 512", "advise a 2048 512 collapse", "discard a 2100 3")]
    [InlineData("prot", "fork", "fill a 2500 3", "discard a 3000 9")]
    [InlineData("thp", "fork", "fill a 2500 3", "discard a 3000 9")]
    [InlineData("prot", "protect a 2048 1024 none", "protect a 2048 1024 rw", "fill a 2100 3")]
    [InlineData("prot", "protect a 2048 1024 none")]
    [InlineData("prot", "map b 8192", "swap b a")]
    [InlineData("prot", "advise a 0 8192 pageout", "fill a 2100 3")]
    [InlineData("thp", "advise a 0 8192 pageout", "fill a 2100 3", "discard a 4096 20")]
    public void What_is_dropped_or_made_anew_right_before_the_freeze_is_captured_as_it_is_then(string kind, params string[] commands)
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask($"map a {Pages} {kind}"));
        var first = TestCapture.Take(target);
        var second = TestCapture.Take(target, first, beforeFreeze: () => Assert.All(commands, command => Assert.DoesNotContain("failed", target.Ask(command))));
        Assert.True(second.Proof.Continuous, second.Proof.Reason);
        Assert.Empty(second.Lies);
        if (commands[0].StartsWith("discard", StringComparison.Ordinal)) Assert.InRange(second.KeptWithin(area, Pages), Pages - 1536UL, Pages - 1UL); // the rest was believed
        if (commands is ["discard a 2048 1024"]) Assert.Equal(0UL, second.ReadWithin(area + 2048 * Page, 1024)); // seen to be gone, not read
        if (commands[0].StartsWith("unmap", StringComparison.Ordinal)) return;

        // And it is watched from there on.
        target.Ask("fill a 0 1");
        if (commands[0].StartsWith("discard", StringComparison.Ordinal)) target.Ask("fill a 2300 200");
        TestCapture.Take(target, second);
    }

    [Fact]
    public void A_guard_that_is_made_right_before_the_freeze_is_one_in_the_image()
    {
        Trackers.Require(TrackerKind.Uffd);
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask($"map a {Pages}"));
        var first = TestCapture.Take(target);
        var answer = "";
        var second = TestCapture.Take(target, first, beforeFreeze: () => answer = target.Ask("guard a 3000 5"));
        Requires.That(!answer.StartsWith("failed", StringComparison.Ordinal), $"MADV_GUARD_INSTALL (kernel 6.13): {answer}");
        Assert.DoesNotContain(second.Exclusions, e => e.Start >= area && e.Start < area + Pages * Page);
        var guard = Assert.Single(second.VmaAt(area).Guards);
        Assert.Equal((area + 3000 * Page, 5 * Page), (guard.Start, guard.SizeBytes));
        Assert.Null(second.ActionAt(area + 3002 * Page));
        Assert.Equal(Pages - 5UL, second.KeptWithin(area, Pages));
        Assert.DoesNotContain(area / Page + 3002, second.Space.Pages.Keys);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Nothing_that_was_dropped_or_written_is_called_clean(bool huge)
    {
        Requires.That(KernelProbes.Current is { UffdWriteProtect: true, FastScanKnowsSwapped: true }, "userfaultfd with asynchronous write protection, Linux 6.9");
        Assert.True(KernelProbes.Current.FastScanTellsDropped);
        const int pages = 24 * 512;
        var random = Seeds.Random();
        using var memory = new MappedMemory(pages * VirtualPage.Size, huge);
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
        var (clean, holesRead, holesSeen, proved) = (0, 0, 0, 0);
        for (var round = 0; round < 12; round++)
        {
            for (var page = 0; page < pages; page++) memory.GetSpan()[page * VirtualPage.Size]++; // all is there
            Assert.True(scanner.TryScanAndProtect(range, fileMapping: false, new RunList<PageRun>()));
            var solid = new SolidMemory();
            var before = new RunList<PageRun>();
            scanner.Scan(range, fileMapping: false, before);
            solid.Add(before);
            solid.Complete();
            Assert.NotEmpty(solid.Ranges);

            for (var i = 0; i < 12; i++)
            {
                var (first, count) = random.Next(3) == 0 ? (random.Next(pages / 512) * 512, 512 * (1 + random.Next(2))) : (random.Next(pages), 1 + random.Next(40));
                count = Math.Min(count, pages - first);
                if (i % 2 == 0) memory.Release(first * VirtualPage.Size, count * VirtualPage.Size);
                else
                    for (var page = first; page < first + Math.Min(count, 40); page++)
                        if (i % 4 == 1) memory.GetSpan()[page * VirtualPage.Size]++;
                        else Assert.InRange(memory.GetSpan()[page * VirtualPage.Size], 0, 255); // maps the zero page, if it is a hole
            }

            var truth = PerPage(Scan());
            away.Begin(Environment.ProcessId, [vma], crew, solid);
            away.Complete();
            var found = new RunList<PageRun>();
            for (var at = range.Start; at.Number < range.End.Number;)
            {
                var piece = PageRange.Between(at, away.Next(at, new VirtualPage(Math.Min(at.Number + 2048, range.End.Number)), out var believed));
                var written = new RunList<PageRun>();
                Assert.True(believed || away.IsOwnMemory(piece) ? scanner.TryScanWrittenOfPresent(piece, protect: true, written) : scanner.TryScanWritten(piece, protect: true, written));
                away.Merge(piece, written, found);
                if (believed) proved += (int)piece.Count;
                at = piece.End;
            }

            var told = PerPage(found);
            for (var page = range.Start.Number; page < range.End.Number; page++)
            {
                var isThere = truth.TryGetValue(page, out var flags);
                var isTold = told.TryGetValue(page, out var toldFlags);
                var isWritten = isTold && (toldFlags & PageCategories.Written) != 0;
                if (!isThere)
                {
                    Assert.True(!isTold || isWritten, $"a hole at {page:x} is called clean"); // what counts as written is read: zeros
                    if (isTold) holesRead++;
                    else holesSeen++;
                }
                else
                {
                    Assert.True(isTold, $"{page:x} is left out");
                    Assert.Equal((flags & PageCategories.Written) != 0, isWritten);
                    if (!isWritten) clean++;
                }
            }
        }

        Assert.True(clean > 0 && holesRead > 0 && holesSeen > 0 && proved > 0, $"{clean} clean, {holesRead} holes read, {holesSeen} seen, {proved} pages proved");

        RunList<PageRun> Scan()
        {
            var all = new RunList<PageRun>();
            scanner.Scan(range, fileMapping: false, all);
            return all;
        }
    }

    private static Dictionary<ulong, PageCategories> PerPage(RunList<PageRun> runs)
    {
        var pages = new Dictionary<ulong, PageCategories>();
        foreach (var run in runs)
            for (ulong i = 0; i < run.Range.Count; i++) pages.Add(run.Range.Start.Number + i, run.Flags);
        return pages;
    }
}
