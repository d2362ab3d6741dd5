using Crstore.Capture.Memory;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>Memory that others can write: no tracker sees them, so it is always read.</summary>
public sealed class SharedMemoryTests
{
    private const ulong Page = 4096;

    [Fact]
    public void A_memfd_written_by_pwrite_is_read_whatever_the_tracker_says()
    {
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask("map a 60 memfd"));
        var first = TestCapture.Take(target, null, null);
        target.Ask("pwrite a 10 5");
        var second = TestCapture.Take(target, first, null);
        Assert.Equal(60UL, second.ReadWithin(area, 60));
        Assert.Equal(5, Differences(first, second, area, 60));
        Assert.Equal(VmaContent.Saved, second.VmaAt(area).Content);
        Assert.False(second.VmaAt(area).Tracked);
    }

    [Theory, InlineData("shared"), InlineData("memfd")]
    public void Shared_memory_written_by_another_process_is_read(string kind)
    {
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask($"map a 60 {kind}"));
        var first = TestCapture.Take(target, null, null);
        target.Ask("child-write a 20 7");
        var second = TestCapture.Take(target, first, null);
        Assert.Equal(7, Differences(first, second, area, 60));
    }

    [Fact]
    public void Pages_that_only_another_process_has_touched_are_content_too()
    {
        using var target = TrapTests.Started();
        var area = TrapTests.Area(target.Ask("map a 60 shared"));
        target.Ask("discard a 0 60"); // shared memory keeps its content, but is in nobody's page table now
        var capture = TestCapture.Take(target, null, null);
        Assert.Equal(60, capture.Space.Pages.Count(p => p.Key >= area / Page && p.Key < area / Page + 60 && p.Value.Kind == Model.PageKind.Chunk));
    }

    [Fact]
    public void Holes_of_shared_memory_are_not_filled_by_reading_them()
    {
        // 64 MiB of it, with 3 pages written through the fd.
        var script = """
            import os, mmap, sys
            fd = os.memfd_create("holes")
            os.ftruncate(fd, 64 << 20)
            m = mmap.mmap(fd, 64 << 20)
            os.pwrite(fd, b"x" * 12288, 32 << 20)
            print("ready", flush=True)
            for line in sys.stdin:
                print(os.fstat(fd).st_blocks * 512, flush=True)
            """;
        using var sparse = TargetProcess.Python(script);
        sparse.Expect("ready");
        var capture = TestCapture.Take(sparse, null, null);
        var vma = capture.Process.Vmas.Single(v => v.Name.StartsWith("/memfd:holes", StringComparison.Ordinal));
        Assert.Equal(3UL, capture.ReadWithin(vma.Start, (vma.End - vma.Start) / Page));
        Assert.Equal("12288", sparse.Ask("size"));
    }

    private static int Differences(TestCapture a, TestCapture b, ulong address, ulong pages) =>
        Enumerable.Range(0, (int)pages).Count(i => a.Space.Pages[address / Page + (ulong)i] != b.Space.Pages[address / Page + (ulong)i]);
}
