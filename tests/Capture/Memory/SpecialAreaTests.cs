using System.Globalization;
using Crstore.Capture;
using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>Areas that are not plain memory: guards, no access, huge pages, sparse reservations, files, the kernel's own.</summary>
public sealed class SpecialAreaTests
{
    private const ulong Page = 4096;

    [Fact]
    public void An_area_without_access_that_holds_data_is_saved()
    {
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask("map a 30"));
        target.Ask("protect a 0 30 none");
        var capture = TestCapture.Take(target, null, null);
        Assert.Equal(30UL, capture.ReadWithin(area, 30));
        Assert.All(Enumerable.Range(0, 30), i => Assert.Equal(PageKind.Chunk, capture.Space.Pages[area / Page + (ulong)i].Kind));
    }

    [Fact]
    public void Guard_pages_are_no_content_and_stay_guards()
    {
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask("map a 30"));
        var answer = target.Ask("guard a 10 5");
        Requires.That(!answer.StartsWith("failed", StringComparison.Ordinal), $"MADV_GUARD_INSTALL (kernel 6.13): {answer}");
        var first = TestCapture.Take(target, null, null);
        Assert.Null(first.ActionAt(area + 12 * Page));
        Assert.DoesNotContain(first.Exclusions, e => e.Start >= area && e.Start < area + 30 * Page);
        var second = TestCapture.Take(target, first, null);
        Assert.Null(second.ActionAt(area + 12 * Page));
        Assert.Equal(25UL, second.ReadWithin(area, 30) + second.KeptWithin(area, 30));
        // Still a guard: touching it kills.
        target.Send("read a 12 1");
        Assert.Equal(128 + 11, target.WaitForExit()); // SIGSEGV
    }

    [Fact]
    public void A_hugetlb_area_is_read_in_full()
    {
        using var pages = HugePages.Take(4);
        using var target = TrapTests.Started();
        var answer = target.Ask("map a 1024 huge");
        Requires.That(!answer.StartsWith("failed", StringComparison.Ordinal), $"free hugetlb pages: {answer}");
        var area = TrapTests.Area(answer);
        var first = TestCapture.Take(target, null, null);
        Assert.Equal(1024UL, first.ReadWithin(area, 1024));
        target.Ask("fill a 600 1");
        var second = TestCapture.Take(target, first, null);
        Assert.Equal(1024UL, second.ReadWithin(area, 1024));
    }

    [Fact]
    public void A_sparse_reservation_costs_the_target_no_memory()
    {
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask($"map a {(64UL << 30) / Page} noreserve"));
        target.Ask("fill a 5 2");
        target.Ask($"fill a {(40UL << 30) / Page} 3");
        var before = Memory(target.Pid);
        var first = TakeSparse(target.Pid, null);
        target.Ask("fill a 6 1");
        var second = TakeSparse(target.Pid, first);
        var after = Memory(target.Pid);
        // The kernel's own counts are not exact; what it would cost is 64 GiB, or 128 MiB of page tables.
        Assert.InRange(after.ResidentKb, 0, before.ResidentKb + 4096);
        Assert.InRange(after.PageTableKb, 0, before.PageTableKb + 1024);
        Assert.Equal(5UL, first.ReadWithin(area, (64UL << 30) / Page));
        if (second.Proof.Tracker == TrackerKind.Uffd) Assert.Equal(4UL, second.KeptWithin(area, (64UL << 30) / Page));
    }

    [Fact]
    public void Unmodified_file_pages_are_a_reference_and_the_kernels_own_areas_are_not_captured()
    {
        using var target = TrapTests.Started();
        var capture = TestCapture.Take(target, null, null);
        var text = capture.Process.Vmas.First(v => v.Name.EndsWith("/memory_traps", StringComparison.Ordinal) && (v.Protection & 4) != 0);
        Assert.Equal(VmaContent.FileBacked, text.Content);
        Assert.NotEmpty(text.Backing.BuildId);
        Assert.False(text.Backing.Deleted);
        Assert.Equal(0UL, capture.ReadWithin(text.Start, (text.End - text.Start) / Page));
        Assert.All(capture.Process.Vmas.Where(v => v.Name.StartsWith("[vvar", StringComparison.Ordinal)), v =>
        {
            Assert.Equal(VmaContent.NotCaptured, v.Content);
            Assert.NotEmpty(v.NotCapturedReason);
        });
        var vdso = capture.Process.Vmas.Single(v => v.Name == "[vdso]");
        Assert.Equal((vdso.End - vdso.Start) / Page, capture.ReadWithin(vdso.Start, (vdso.End - vdso.Start) / Page));
        Assert.All(capture.Process.Vmas, v => Assert.NotEmpty(v.VmFlags + v.Name));
    }

    [Fact]
    public void A_mapped_file_that_is_replaced_is_saved_in_full()
    {
        using var target = TrapTests.Started();
        using var directory = new TempDir("crstore-file-");
        var path = directory.File("mapped");
        File.WriteAllBytes(path, [.. Enumerable.Range(0, 20 * 4096).Select(i => (byte)(i / 4096 + 1))]);
        var area = TrapTests.Area(target.Ask($"file a {path} 20"));
        target.Ask("fill a 3 1");
        var first = TestCapture.Take(target, null, null);
        Assert.Equal(VmaContent.FileBacked, first.VmaAt(area).Content);
        Assert.Equal(1UL, first.ReadWithin(area, 20));
        File.Delete(path);
        File.WriteAllBytes(path, new byte[20 * 4096]);
        var second = TestCapture.Take(target, first, null);
        Assert.Equal(VmaContent.Saved, second.VmaAt(area).Content);
        Assert.Equal(20UL, second.ReadWithin(area, 20));
        Assert.Equal(20, second.Space.Pages.Count(p => p.Key >= area / Page && p.Key < area / Page + 20 && p.Value.Kind == PageKind.Chunk));
    }

    [Fact]
    public void Embedding_saves_the_file_pages_as_well()
    {
        using var target = TrapTests.Started();
        var capture = TestCapture.Take(target, null, null, o => o with { EmbedFiles = true });
        var text = capture.Process.Vmas.First(v => v.Name.EndsWith("/memory_traps", StringComparison.Ordinal) && (v.Protection & 4) != 0);
        Assert.True(text.Embedded);
        Assert.True(capture.ReadWithin(text.Start, (text.End - text.Start) / Page) > 0);
    }

    [Fact]
    public void What_is_excluded_is_listed_and_comes_back_when_it_is_not_excluded_any_more()
    {
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask("map a 30"));
        var rule = new ExcludeRule(area + 10 * Page, area + 20 * Page, null);
        var first = TestCapture.Take(target, null, null, o => o with { Exclude = [rule, new ExcludeRule(null, null, "[heap]")] });
        Assert.Equal(PageAction.Exclude, first.ActionAt(area + 15 * Page));
        Assert.Contains(first.Exclusions, e => e.Start == area + 10 * Page && e.SizeBytes == 10 * Page);
        Assert.Equal(20UL, first.ReadWithin(area, 30));
        var second = TestCapture.Take(target, first, null);
        Assert.Equal(10UL, second.ReadWithin(area + 10 * Page, 10));
        Assert.Equal(0UL, second.KeptWithin(area + 10 * Page, 10));
    }

    [Fact]
    public void A_capture_larger_than_the_buffer_is_streamed()
    {
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask("map a 3000"));
        var capture = TestCapture.Take(target, null, null, o => o with { BufferBytes = 1 << 20 }); // the witness compares every page
        Assert.Equal(3000UL, capture.ReadWithin(area, 3000));
    }

    private static TestCapture TakeSparse(int pid, TestCapture? parent) => TestCapture.Take(pid, parent, null);

    private static (long ResidentKb, long PageTableKb) Memory(int pid)
    {
        var status = TaskStatusFile.Read(pid)!;
        return (Kb(status["VmRSS"]), Kb(status["VmPTE"]));
    }

    private static long Kb(string? value) => long.Parse(value!.Trim().Split(' ')[0], CultureInfo.InvariantCulture);
}
