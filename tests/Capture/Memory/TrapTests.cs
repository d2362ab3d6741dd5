using System.Globalization;
using Crstore.Capture.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Capture.Freezing;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>
/// What confuses page trackers, FACTS sections 5 and 6, one test each. Every capture is checked page by page against an
/// independent reading in the same freeze (<see cref="Witness"/>); the tests add what must have been kept or read.
/// </summary>
[Trait("vm", "yes")]
public sealed class TrapTests
{
    private const ulong Page = 4096;

    public static TheoryData<TrackerKind> Trackers => [TrackerKind.Uffd, TrackerKind.SoftDirty];

    [Theory, MemberData(nameof(Trackers))]
    public void Only_written_pages_are_read_again(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 2000"));
        var first = TestCapture.Take(target, null, tracker);
        Assert.False(first.Proof.Continuous);
        Area(target.Ask("fill a 100 3"));
        var second = TestCapture.Take(target, first, tracker);
        Assert.True(second.Proof.Continuous, second.Proof.Reason);
        Assert.Equal(PageAction.Read, second.ActionAt(area + 101 * Page));
        // One bit for a whole transparent huge page: with THP "always", soft-dirty may take the two that the pages lie in.
        var read = second.ReadWithin(area, 2000);
        Assert.InRange(read, 3UL, tracker == TrackerKind.SoftDirty ? 1024UL : 3UL);
        Assert.Equal(2000UL - read, second.KeptWithin(area, 2000));
        Assert.True(second.Sampled > 0);
        Assert.Empty(second.Lies);
        var third = TestCapture.Take(target, second, tracker);
        Assert.Equal(2000UL, third.KeptWithin(area, 2000));
    }

    /// <summary>The kernel doesn't clear the soft-dirty bit of a page that is pinned, and those are that the crew is copying: 512 KiB here and there were read again, for nothing.</summary>
    [Theory, MemberData(nameof(Trackers))]
    public void What_was_copied_last_counts_as_unwritten_afterwards(TrackerKind tracker)
    {
        const int pages = 8000;
        using var target = StartedFor(tracker);
        var area = Area(target.Ask($"map a {pages}"));
        TestCapture? last = null;
        for (var turn = 0; turn < 2; turn++)
        {
            var written = TestCapture.Take(target, last, tracker);
            Assert.Equal((ulong)pages, written.ReadWithin(area, pages));
            last = TestCapture.Take(target, written, tracker);
            Assert.True(last.Proof.Continuous, last.Proof.Reason);
            Assert.Equal((ulong)pages, last.KeptWithin(area, pages));
            Area(target.Ask($"fill a 0 {pages}"));
        }
    }

    /// <summary>A frozen process doesn't write to its memory, but others may: after its bits are cleared, or it would not be seen.</summary>
    [Theory, MemberData(nameof(Trackers))]
    public void What_others_write_to_a_page_that_has_just_been_copied_is_read_the_next_time(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 2000"));
        var isWritten = false;
        var first = TestCapture.Take(target, null, tracker, o => o with { BufferBytes = 1 << 20 }, check: false, onContent: content =>
        {
            if (isWritten || !content.Contains(VirtualPage.Of(area))) return;
            using var memory = File.OpenHandle($"/proc/{target.Pid}/mem", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite); // the buffer is full: still frozen
            RandomAccess.Write(memory, "by somebody else"u8, (long)area);
            isWritten = true;
        });
        Assert.True(isWritten);
        var second = TestCapture.Take(target, first, tracker);
        Assert.True(second.Proof.Continuous, second.Proof.Reason);
        Assert.Equal(PageAction.Read, second.ActionAt(area));
    }

    /// <summary>Of a program of 100 MiB room for all of it was faulted in before each freeze, and given back unused.</summary>
    [Fact]
    public void Pages_of_files_and_zero_pages_that_are_there_take_no_room_in_the_buffer()
    {
        const int pages = 8000;
        var path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, new byte[pages * (int)Page]);
            using var target = Started();
            target.Ask($"file a {path} {pages}");
            target.Ask($"read a 0 {pages}");
            target.Ask($"map b {pages} noreserve");
            target.Ask($"read b 0 {pages}");
            var area = Area(target.Ask("map c 1000"));
            var capture = TestCapture.Take(target, null, tracker: null);
            Assert.Equal(1000UL, capture.ReadWithin(area, 1000));
            Assert.InRange(capture.EstimatedBytes, (long)capture.Dirty * (long)Page, ((long)capture.Dirty + pages / 2) * (long)Page);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory, MemberData(nameof(Trackers))]
    public void A_new_mapping_is_read(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        target.Ask("map a 50");
        var first = TestCapture.Take(target, null, tracker);
        var area = Area(target.Ask("map b 70"));
        var second = TestCapture.Take(target, first, tracker);
        Assert.Equal(70UL, second.ReadWithin(area, 70));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void A_mapping_put_over_another_is_not_taken_for_it(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 100"));
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("over a 20 40");
        var second = TestCapture.Take(target, first, tracker);
        Assert.Equal(0UL, second.KeptWithin(area + 20 * Page, 40));
        Assert.Equal(1UL, second.ReadWithin(area + 20 * Page, 40));
        if (tracker == TrackerKind.Uffd) Assert.Equal(60UL, second.KeptWithin(area, 100)); // soft-dirty marks what a new mapping merges with
    }

    [Theory, MemberData(nameof(Trackers))]
    public void A_mapping_unmapped_and_mapped_again_is_read(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 100"));
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("unmap a");
        Assert.Equal(area, Area(target.Ask("map a 100")));
        var second = TestCapture.Take(target, first, tracker);
        Assert.Equal(100UL, second.ReadWithin(area, 100));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void A_moved_mapping_is_read_at_its_new_place(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        target.Ask("map a 1100"); // more than a page table's worth, which the kernel moves as a whole
        var first = TestCapture.Take(target, null, tracker);
        var moved = Area(target.Ask("move a"));
        var second = TestCapture.Take(target, first, tracker);
        Assert.Equal(1100UL, second.ReadWithin(moved, 1100));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void A_mapping_moved_over_another_one_is_not_taken_for_it(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        target.Ask("map a 1024");
        var place = Area(target.Ask("map b 1024"));
        var first = TestCapture.Take(target, null, tracker);
        Assert.Equal(place, Area(target.Ask("swap a b")));
        var second = TestCapture.Take(target, first, tracker); // the witness knows what must be there
        Assert.Equal(0UL, second.KeptWithin(place, 1024));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void Pages_written_after_another_mapping_merged_with_theirs_are_read(TrackerKind tracker)
    {
        // mremap(2) drops the userfaultfd of what it moves, and with it that of the VMA it merges with, but not the marks there.
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 100"));
        target.Ask("part a 50");
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("rejoin a");
        target.Ask("fill a 7 3");
        var second = TestCapture.Take(target, first, tracker);
        target.Ask("fill a 8 1");
        target.Ask("fill a 60 1");
        var third = TestCapture.Take(target, second, tracker); // the witness knows what must be there
        Assert.Equal(PageAction.Read, third.ActionAt(area + 8 * Page));
        Assert.Equal(PageAction.Read, third.ActionAt(area + 60 * Page));
        if (tracker == TrackerKind.Uffd) Assert.Equal(98UL, third.KeptWithin(area, 100));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void A_grown_mapping_is_kept_in_its_old_part_and_read_in_its_new_one(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 100"));
        var first = TestCapture.Take(target, null, tracker);
        Assert.Equal(area, Area(target.Ask("grow a 30")));
        var second = TestCapture.Take(target, first, tracker);
        Assert.Equal(30UL, second.ReadWithin(area + 100 * Page, 30));
        Assert.True(second.KeptWithin(area, 100) <= 100);
    }

    [Theory, MemberData(nameof(Trackers))]
    public void Changing_the_protection_keeps_the_pages(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 100"));
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("protect a 0 30 r");
        target.Ask("protect a 50 10 none");
        target.Ask("fill a 70 2");
        var second = TestCapture.Take(target, first, tracker);
        if (tracker == TrackerKind.Uffd) Assert.Equal(98UL, second.KeptWithin(area, 100));
        target.Ask("protect a 0 100 rw");
        target.Ask("fill a 52 1");
        var third = TestCapture.Take(target, second, tracker);
        Assert.Equal(PageAction.Read, third.ActionAt(area + 52 * Page));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void Discarded_pages_are_gone_even_if_they_are_read_or_written_afterwards(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 100"));
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("discard a 10 30");
        target.Ask("read a 20 10"); // maps the zero page, with no dirty bit set
        target.Ask("fill a 30 10");
        var second = TestCapture.Take(target, first, tracker);
        Assert.Null(second.ActionAt(area + 15 * Page));
        Assert.NotEqual(PageAction.Keep, second.ActionAt(area + 25 * Page));
        Assert.Equal(PageAction.Read, second.ActionAt(area + 35 * Page));
        Assert.Equal(70UL, second.KeptWithin(area, 100));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void Discarded_pages_of_a_private_file_mapping_are_the_files_again(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        using var directory = new TempDir("crstore-file-");
        var path = directory.File("mapped");
        File.WriteAllBytes(path, [.. Enumerable.Range(0, 40 * 4096).Select(i => (byte)(i / 4096 + 1))]);
        var area = Area(target.Ask($"file a {path} 40"));
        target.Ask("fill a 0 30");
        var first = TestCapture.Take(target, null, tracker);
        Assert.Equal(VmaContent.FileBacked, first.VmaAt(area).Content);
        Assert.Equal(30UL, first.ReadWithin(area, 40));
        target.Ask("discard a 10 10");
        target.Ask("read a 12 3");
        target.Ask("fill a 16 1");
        var second = TestCapture.Take(target, first, tracker); // write-protect markers are left where pages were: the witness tells
        Assert.Equal(20UL, second.KeptWithin(area, 40));
        Assert.Equal(PageAction.Read, second.ActionAt(area + 16 * Page));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void The_heap_may_grow_and_shrink(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        target.Ask("brk 100");
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("brk 50");
        var second = TestCapture.Take(target, first, tracker);
        Assert.True(second.Dirty >= 49);
        if (tracker == TrackerKind.Uffd) Assert.True(second.Kept > 50);
        target.Ask("brk -80");
        var third = TestCapture.Take(target, second, tracker);
        target.Ask("brk 80");
        var fourth = TestCapture.Take(target, third, tracker);
        Assert.True(fourth.Dirty >= 79);
    }

    [Theory, MemberData(nameof(Trackers))]
    public void The_stack_may_grow(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        target.Ask("stack 20");
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("stack 200");
        var second = TestCapture.Take(target, first, tracker);
        var stack = second.Process.Vmas.Single(v => v.Name == "[stack]");
        Assert.True(second.ReadWithin(stack.Start, (stack.End - stack.Start) / Page) >= 180);
        TestCapture.Take(target, second, tracker);
    }

    [Theory, MemberData(nameof(Trackers))]
    public void A_fork_leaves_the_parents_tracking_right_and_the_child_starts_anew(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 100"));
        var first = TestCapture.Take(target, null, tracker);
        var child = int.Parse(target.Ask("fork")["child ".Length..], CultureInfo.InvariantCulture);
        target.Ask("fill a 40 5");
        var second = TestCapture.Take(target, first, tracker);
        Assert.Equal(5UL, second.ReadWithin(area, 100));
        Frozen.WaitForState(child, "S"); // when it has written
        var childFirst = TestCapture.Take(child, null, tracker);
        Assert.Equal(100UL, childFirst.ReadWithin(area, 100));
        var childSecond = TestCapture.Take(child, childFirst, tracker);
        Assert.True(childSecond.Proof.Continuous, childSecond.Proof.Reason);
        Assert.Equal(100UL, childSecond.KeptWithin(area, 100));
        target.Ask("fill a 60 5"); // the child's capture must not have reset the parent's state
        var third = TestCapture.Take(target, second, tracker);
        Assert.True(third.Proof.Continuous, third.Proof.Reason);
        Assert.Equal(5UL, third.ReadWithin(area, 100));
    }

    [Fact]
    public void Two_processes_with_one_memory_do_not_reset_each_others_state()
    {
        using var target = Started();
        target.Ask("map a 100");
        var child = int.Parse(target.Ask("clone-vm")["child ".Length..], CultureInfo.InvariantCulture);
        var first = TestCapture.Take(target, null, null);
        var childFirst = TestCapture.Take(child, null, null);
        for (var i = 0; i < 3; i++)
        {
            target.Ask($"fill a {i * 10} 5");
            childFirst = TestCapture.Take(child, childFirst, null); // the witness compares every page, here and below
            first = TestCapture.Take(target, first, null);
        }
    }

    [Theory, MemberData(nameof(Trackers))]
    public void Pages_that_the_kernel_writes_count_as_written(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 100"));
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("kernel-read a 33");
        var second = TestCapture.Take(target, first, tracker);
        Assert.Equal(PageAction.Read, second.ActionAt(area + 33 * Page));
        Assert.Equal(1UL, second.ReadWithin(area, 100));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void Huge_pages_are_tracked(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 4096 thp"));
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("fill a 1000 2");
        target.Ask("discard a 2048 512");
        target.Ask("read a 2048 512"); // the huge zero page
        var second = TestCapture.Take(target, first, tracker);
        Assert.Equal(PageAction.Read, second.ActionAt(area + 1000 * Page));
        Assert.True(second.KeptWithin(area, 4096) >= 2500, $"kept {second.KeptWithin(area, 4096)}");
        Assert.Equal(0UL, second.KeptWithin(area + 2048 * Page, 512));
    }

    [Theory, MemberData(nameof(Trackers))]
    public void Zeros_that_were_written_are_zeros(TrackerKind tracker)
    {
        using var target = StartedFor(tracker);
        var area = Area(target.Ask("map a 20"));
        var first = TestCapture.Take(target, null, tracker);
        target.Ask("zero a 5 5");
        var second = TestCapture.Take(target, first, tracker);
        Assert.Equal(15UL, second.KeptWithin(area, 20));
        target.Ask("fill a 6 1");
        TestCapture.Take(target, second, tracker);
    }

    private static TargetProcess StartedFor(TrackerKind tracker)
    {
        Memory.Trackers.Require(tracker);
        return Started();
    }

    internal static TargetProcess Started()
    {
        var target = TargetProcess.Start("memory_traps");
        Assert.Equal("ready", target.ReadLine());
        return target;
    }

    /// <summary>The start address in the answer "area START PAGES".</summary>
    internal static ulong Area(string answer)
    {
        Assert.StartsWith("area ", answer);
        return ulong.Parse(answer.Split(' ')[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
