using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>The decision per page, run by run, against the same decision made page by page.</summary>
public sealed class PagePlanTests
{
    private const PageCategories Clean = PageCategories.Present;
    private const PageCategories Written = PageCategories.Present | PageCategories.Written;

    [Fact]
    public void A_clean_page_is_kept_only_where_it_is_trusted_and_the_parent_has_content()
    {
        var plan = Plan([new(Pages(0, 40), Clean)], trusted: [Pages(5, 30)], spans:
            [new(Pages(0, 10), PageKind.Chunk), new(Pages(10, 5), PageKind.Zero), new(Pages(15, 5), PageKind.Excluded), new(Pages(25, 15), PageKind.Chunk)]);
        Assert.Equal([
            new(Pages(0, 5), PageAction.Read, 0), new(Pages(5, 10), PageAction.Keep, 0), new(Pages(15, 10), PageAction.Read, 0),
            new(Pages(25, 10), PageAction.Keep, 0), new(Pages(35, 5), PageAction.Read, 0)], plan.Runs);
    }

    [Fact]
    public void Zero_pages_guards_and_the_files_own_pages_need_no_tracker()
    {
        var plan = Plan([
            new(Pages(0, 2), Clean | PageCategories.ZeroFrame), new(Pages(2, 2), PageCategories.Swapped | PageCategories.Guard),
            new(Pages(4, 2), Clean | PageCategories.File), new(Pages(6, 2), PageCategories.Swapped), new(Pages(8, 2), Clean)],
            trusted: [Pages(0, 40)], spans: [new(Pages(0, 40), PageKind.Chunk)], policy: ReadPolicy.Modified);
        // Neither in memory nor the file's: perhaps a marker that MADV_DONTNEED left, so it is read though it is "clean".
        Assert.Equal([new(Pages(0, 2), PageAction.Zero, 0), new(Pages(6, 2), PageAction.Read, 0), new(Pages(8, 2), PageAction.Keep, 0)], plan.Runs);
    }

    [Fact]
    public void Runs_are_decided_as_page_by_page()
    {
        var random = Seeds.Random();
        var decided = new HashSet<PageAction?>();
        for (var round = 0; round < 300; round++)
        {
            PageCategories[] flags = [Clean, Written, Clean | PageCategories.ZeroFrame, PageCategories.Swapped, Written | PageCategories.Guard];
            var runs = RandomRanges(random).Select(r => new PageRun(r, flags[random.Next(flags.Length)])).ToArray();
            var spans = RandomRanges(random).Select(r => new PageSpan(r, (PageKind)random.Next(1, 4))).ToList();
            var trusted = RandomRanges(random).ToArray();
            var excluded = RandomRanges(random).Where(_ => random.Next(4) == 0).ToArray();
            var plan = Plan([.. runs], [.. trusted], spans, excluded: excluded);
            for (ulong page = 0; page < 200; page++)
            {
                var expected = Decide(new VirtualPage(1000 + page), runs, trusted, spans, excluded);
                var actual = plan.Runs.Where(r => r.Range.Contains(new VirtualPage(1000 + page))).Select(r => (PageAction?)r.Action).SingleOrDefault();
                Assert.True(expected == actual, $"round {round} page {page}: {actual} instead of {expected}");
                decided.Add(actual);
            }
        }

        Assert.Equal(5, decided.Count);
    }

    private static PageAction? Decide(VirtualPage page, PageRun[] runs, PageRange[] trusted, List<PageSpan> spans, PageRange[] excluded)
    {
        var run = Array.Find(runs, r => r.Range.Contains(page));
        if (run.Range.IsEmpty || (run.Flags & PageCategories.Guard) != 0) return null;
        if (Array.Exists(excluded, e => e.Contains(page))) return PageAction.Exclude;
        if ((run.Flags & PageCategories.ZeroFrame) != 0) return PageAction.Zero;
        var kept = (run.Flags & PageCategories.Written) == 0 && Array.Exists(trusted, t => t.Contains(page))
            && spans.Exists(s => s.Range.Contains(page) && s.Kind is PageKind.Chunk or PageKind.Zero);
        return kept ? PageAction.Keep : PageAction.Read;
    }

    private static IEnumerable<PageRange> RandomRanges(Random random)
    {
        for (ulong at = 0; at < 200;)
        {
            var count = Math.Min(1 + (ulong)random.Next(30), 200 - at);
            if (random.Next(4) != 0) yield return Pages(at, count);
            at += count;
        }
    }

    private static PagePlan Plan(RunList<PageRun> runs, RunList<PageRange> trusted, List<PageSpan> spans, ReadPolicy policy = ReadPolicy.Populated,
        PageRange[]? excluded = null)
    {
        var plan = new PagePlan();
        plan.Reset(new ParentMap(null, spans));
        var vma = new PlannedVma
        {
            Entry = new MapsEntry(1000 * 4096, 1200 * 4096, MemoryProtection.Read | MemoryProtection.Write, false, 0, default, 0, ""),
            VmFlags = "",
            Content = VmaContent.Saved,
            Policy = policy,
            Trackable = true,
        };
        plan.Add(vma, 0, runs, PageCategories.Written, trusted, excluded);
        return plan;
    }

    private static PageRange Pages(ulong first, ulong count) => new(new VirtualPage(1000 + first), count);
}
