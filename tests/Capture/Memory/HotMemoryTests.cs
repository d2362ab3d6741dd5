using System.Globalization;
using Crstore.Capture.Memory;
using Crstore.Capture.Tracking;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>Memory that is written everywhere before every capture is not always protected; it is saved all the same, whatever becomes of it. Each capture has its witness.</summary>
public sealed class HotMemoryTests
{
    private const ulong Pages = 1536; // three blocks
    private const ulong Block = HotMemory.BlockPages;
    private const ulong Start = 0x500000000; // a page's number

    [Fact]
    public void What_is_written_everywhere_every_time_is_not_always_protected_so_that_its_writes_cost_no_faults()
    {
        using var target = HotTarget(out var address, out var capture);
        var faults = new List<long>();
        for (uint captures = 2; captures <= 9; captures++)
        {
            faults.Add(FaultsOf(target, "fill a 0 1536")); // as the one before has left it
            capture = TestCapture.Take(target, capture);
            Assert.Equal(captures, HotAt(capture, address));
            Assert.Equal(Pages, capture.ReadWithin(address, Pages));
        }

        Assert.All(new[] { 0, 3, 7 }, i => Assert.True(faults[i] >= (long)Pages, $"{faults[i]} faults after capture {i + 1}, which protects"));
        Assert.All(new[] { 1, 2, 4, 5, 6 }, i => Assert.True(faults[i] < (long)Block, $"{faults[i]} faults after capture {i + 1}, which does not"));
    }

    [Fact]
    public void What_is_not_written_any_more_is_protected_again_and_kept_from_then_on()
    {
        using var target = HotTarget(out var address, out var capture);
        target.Ask("fill a 0 1536");
        capture = TestCapture.Take(target, capture); // its second
        for (uint captures = 3; captures <= 4; captures++)
        {
            capture = TestCapture.Take(target, capture);
            Assert.Equal(Pages, capture.ReadWithin(address, Pages)); // nobody knows that it was not written
            Assert.Equal(captures, HotAt(capture, address));
        }

        capture = TestCapture.Take(target, capture);
        Assert.Equal(Pages, capture.KeptWithin(address, Pages));
        Assert.Equal(0U, HotAt(capture, address));
        target.Ask("fill a 700 1");
        capture = TestCapture.Take(target, capture);
        Assert.Equal(1UL, capture.ReadWithin(address, Pages));
    }

    [Theory]
    [InlineData("fill a 5 1")]
    [InlineData("discard a 0 1536", "read a 0 100")] // the zero page
    [InlineData("discard a 512 512", "fill a 600 1")]
    [InlineData("over a 512 512", "fill a 512 512")]
    [InlineData("unmap a", "map a 1536")] // the same address, and all of it written
    [InlineData("map b 1536", "swap b a")] // another one's pages lie there now
    [InlineData("part a 512", "fill a 0 3", "rejoin a 512")]
    [InlineData("fork")]
    public void What_was_left_unprotected_is_saved_whatever_becomes_of_it(params string[] what)
    {
        using var target = HotTarget(out var address, out var capture);
        target.Ask("fill a 0 1536");
        capture = TestCapture.Take(target, capture);
        Assert.Equal(2U, HotAt(capture, address)); // and not protected
        for (var i = 0; i < what.Length; i++)
        {
            Assert.NotEqual("unknown", target.Ask(what[i]));
            if (i == 0) capture = TestCapture.Take(target, capture); // its third, still unprotected
        }

        // The witness compares every page of these: the look (the fourth), and behind it, when all has been protected.
        for (var i = 0; i < 2; i++) capture = TestCapture.Take(target, capture);
        Assert.True(capture.Proof.Continuous, capture.Proof.Reason);
        Assert.True(capture.Dirty < Block, $"{capture.Dirty} pages of a calm process were read");
    }

    [Fact]
    public void A_round_protects_it_and_saves_it_while_the_process_runs()
    {
        using var target = HotTarget(out var address, out var capture);
        target.Ask("fill a 0 1536");
        capture = TestCapture.Take(target, capture);
        capture = TestCapture.Take(target, capture, meanwhile: () => target.Ask("fill a 0 20"));
        Assert.True(capture.Proof.Continuous, capture.Proof.Reason);
        Assert.InRange(capture.ReadWithin(address, Pages), 20UL, Block);
        capture = TestCapture.Take(target, capture);
        Assert.Equal(Pages, capture.KeptWithin(address, Pages));
    }

    [Fact]
    public void Where_somebody_asks_what_was_written_all_of_it_is_protected()
    {
        using var target = HotTarget(out var address, out var capture);
        for (var i = 0; i < 2; i++)
        {
            target.Ask("fill a 0 1536");
            capture = TestCapture.Take(target, capture, options: o => o with { LeaveHot = false });
            Assert.Equal(1U, HotAt(capture, address));
        }

        capture = TestCapture.Take(target, capture);
        Assert.Equal(Pages, capture.KeptWithin(address, Pages));
    }

    [Fact]
    public void After_a_capture_into_another_store_nothing_is_left_unprotected()
    {
        using var target = HotTarget(out var address, out var capture);
        target.Ask("fill a 0 1536");
        capture = TestCapture.Take(target, capture);
        TestCapture.Take(target, null, store: Guid.NewGuid());
        capture = TestCapture.Take(target, capture);
        Assert.False(capture.Proof.Continuous);
        capture = TestCapture.Take(target, capture);
        Assert.Equal(Pages, capture.KeptWithin(address, Pages));
    }

    [Fact]
    public void It_is_looked_at_the_first_time_the_fourth_and_every_eighth() =>
        Assert.Equal([1U, 4U, 8U, 16U, 24U], Enumerable.Range(1, 31).Select(i => (uint)i).Where(HotMemory.IsLook));

    [Fact]
    public void Blocks_are_protected_or_left_by_how_long_they_have_been_hot()
    {
        var hot = new HotMemory(Remembered((0, 2, 1), (2, 1, 3), (5, 1, 8))); // their second, fourth and ninth
        hot.Begin(rests: true);
        Assert.Equal([(0UL, 2 * Block, false), (2 * Block, 5 * Block, true), (5 * Block, 6 * Block, false), (6 * Block, 8 * Block, true)], Parts(hot, 8 * Block));
        hot.Begin(rests: false);
        Assert.Equal([(0UL, 8 * Block, true)], Parts(hot, 8 * Block));
    }

    [Fact]
    public void Only_whole_blocks_in_memory_are_remembered_each_with_its_own_count()
    {
        var hot = new HotMemory(Remembered((1, 1, 5), (2, 2, 1)));
        hot.Begin(rests: true);
        var written = new RunList<PageRun>();
        const PageCategories full = PageCategories.Present | PageCategories.Written;
        written.Add(new PageRun(new PageRange(new VirtualPage(Start + 1), 3 * Block - 2), full)); // all of 1, and most of 0 and 2
        written.Add(new PageRun(new PageRange(new VirtualPage(Start + 3 * Block), 2 * Block), full));
        written.Add(new PageRun(new PageRange(new VirtualPage(Start + 6 * Block), Block), full | PageCategories.ZeroFrame));
        written.Add(new PageRun(new PageRange(new VirtualPage(Start + 7 * Block), Block), PageCategories.Swapped | PageCategories.Written));
        hot.Note(written);
        Assert.Equal([(Block, Block, 6U), (3 * Block, Block, 2U), (4 * Block, Block, 1U)], hot.Ranges.Select(h => (h.Range.Start.Number - Start, h.Range.Count, h.Captures)));
    }

    [Fact]
    public void What_is_hot_in_very_many_places_is_remembered_of_some_only()
    {
        var hot = new HotMemory();
        hot.Begin(rests: true);
        var written = new RunList<PageRun>();
        for (ulong i = 0; i < 1000; i++) written.Add(new PageRun(new PageRange(new VirtualPage(Start + 2 * i * Block), Block), PageCategories.Present | PageCategories.Written));
        hot.Note(written);
        Assert.Equal(256, hot.Ranges.Count);
    }

    // Base and an increment behind it, with all of area a written in between: hot for the first time, and protected.
    private static TargetProcess HotTarget(out ulong address, out TestCapture capture)
    {
        Trackers.Require(TrackerKind.Uffd);
        var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        address = ulong.Parse(target.Ask("map a 1536").Split(' ')[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        capture = TestCapture.Take(target);
        target.Ask("fill a 0 1536");
        capture = TestCapture.Take(target, capture);
        Assert.Equal(1U, HotAt(capture, address));
        return target;
    }

    // Of its three blocks: in how many captures they have been hot; 0 if any of them is not, or not as long as the others.
    private static uint HotAt(TestCapture capture, ulong address) =>
        capture.Process.Vmas.SelectMany(v => v.Hot).FirstOrDefault(h => h.Start == address && h.SizeBytes == Pages * VirtualPage.Size)?.Captures ?? 0;

    private static long FaultsOf(TargetProcess target, string command)
    {
        var before = Faults();
        target.Ask(command);
        return Faults() - before;

        long Faults() // minflt, proc_pid_stat(5)
        {
            var stat = File.ReadAllText($"/proc/{target.Pid}/stat");
            return long.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[7], CultureInfo.InvariantCulture);
        }
    }

    private static Process Remembered(params (ulong Block, ulong Blocks, uint Captures)[] ranges)
    {
        var vma = new Vma();
        foreach (var (block, blocks, captures) in ranges)
            vma.Hot.Add(new HotRange { Start = (Start + block * Block) * VirtualPage.Size, SizeBytes = blocks * Block * VirtualPage.Size, Captures = captures });
        return new Process { Vmas = { vma } };
    }

    private static List<(ulong, ulong, bool)> Parts(HotMemory hot, ulong pages)
    {
        var parts = new List<(ulong, ulong, bool)>();
        for (var at = new VirtualPage(Start); at.Number < Start + pages;)
        {
            var next = hot.Next(at, new VirtualPage(Start + pages), out var protect);
            parts.Add((at.Number - Start, next.Number - Start, protect));
            at = next;
        }

        return parts;
    }
}
