using Crstore.Capture.Memory;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>Which pages of a shared object are content, where the object has to be looked for.</summary>
public sealed class SharedDataTests
{
    private const ulong Page = 4096;

    [Fact]
    public void An_fd_that_leads_to_another_file_by_now_is_not_asked_for_the_size_of_the_mapped_one()
    {
        using var directory = new TempDir("crstore-shared-");
        var other = directory.File("other");
        File.WriteAllBytes(other, new byte[Page]);
        var vma = Unmapped(other, FileStatus.Of(other), inode: 1);
        var runs = new RunList<PageRun>();
        SharedData.Find(Environment.ProcessId, vma, runs);
        Assert.Equal(vma.Range.Count, Assert.Single(runs).Range.Count);
    }

    [Fact]
    public void The_mapped_file_itself_says_how_much_of_it_there_is()
    {
        using var directory = new TempDir("crstore-shared-");
        var file = directory.File("file");
        File.WriteAllBytes(file, new byte[3 * Page]);
        var runs = new RunList<PageRun>();
        SharedData.Find(Environment.ProcessId, Unmapped(file, FileStatus.Of(file), FileStatus.Of(file).Inode), runs);
        Assert.Equal(3UL, Assert.Single(runs).Range.Count);
    }

    [Fact]
    public void Shared_memory_without_an_object_to_ask_is_content_only_where_it_is_mapped()
    {
        // Our own anonymous memory stands for it: what matters is what the page table shows.
        using var memory = new MappedMemory(16 * (int)Page, huge: false);
        memory.GetSpan()[3 * (int)Page] = 1;
        memory.GetSpan()[4 * (int)Page] = 1;
        var vma = new PlannedVma
        {
            Entry = new MapsEntry(memory.Address, memory.Address + 16 * Page, MemoryProtection.Read | MemoryProtection.Write, true, 0, new DeviceNumber(0, 1), 1, "/dev/zero (deleted)"),
            VmFlags = "",
            Content = VmaContent.Saved,
            Policy = ReadPolicy.SharedData,
            File = new MappedFile { Path = "/dev/zero", Status = null, SameAtPath = false, IsShmem = true, IsHugetlb = false, OpenPath = null },
        };
        var runs = new RunList<PageRun>();
        SharedData.Find(Environment.ProcessId, vma, runs);
        Assert.Equal([3UL, 2UL, 11UL], runs.Select(r => r.Range.Count));
        Assert.Equal([true, false, true], runs.Select(r => r.Flags == SharedData.Unknown));
        var plan = new PagePlan();
        plan.Reset(ParentMap.None);
        plan.Add(vma, 0, runs, PageCategories.None, [], []);
        Assert.Equal([PageAction.Hide, PageAction.Read, PageAction.Hide], plan.Runs.Select(r => r.Action));
        Assert.Equal(14UL, plan.Hidden);
    }

    [Fact]
    public void Shared_huge_pages_are_not_allocated_by_a_capture()
    {
        using var pages = HugePages.Take(4);
        using var target = TargetProcess.Python("""
            import mmap, sys
            try:
                m = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x40000)
            except OSError as e:
                print("failed", e, flush=True)
                sys.exit()
            m[0:3] = b"abc"
            print("ready", flush=True)
            sys.stdin.readline()
            """);
        var answer = target.ReadLine();
        Requires.That(answer == "ready", $"free hugetlb pages: {answer}");
        var capture = TestCapture.Take(target, null, null, check: false);
        var vma = capture.Process.Vmas.Single(v => v.Name.StartsWith("/anon_hugepage", StringComparison.Ordinal));
        Assert.Equal(512UL, capture.ReadWithin(vma.Start, 1024));
        Assert.Contains(capture.Exclusions, e => e.Start == vma.Start + 512 * Page && e.SizeBytes == 512 * Page && e.Reason.Contains("not mapped", StringComparison.Ordinal));
        Assert.Contains(capture.Warnings, w => w.Contains("512 pages of shared memory", StringComparison.Ordinal));
    }

    // A VMA of 16 pages that map_files knows nothing of.
    private static PlannedVma Unmapped(string path, FileStatus status, ulong inode)
    {
        var device = new DeviceNumber((uint)((status.Dev >> 8) & 0xfff), (uint)((status.Dev & 0xff) | ((status.Dev >> 12) & 0xffffff00)));
        return new PlannedVma
        {
            Entry = new MapsEntry(0x10000, 0x10000 + 16 * Page, MemoryProtection.Read | MemoryProtection.Write, true, 0, device, inode, path),
            VmFlags = "",
            Content = VmaContent.Saved,
            Policy = ReadPolicy.SharedData,
            File = new MappedFile { Path = path, Status = status, SameAtPath = true, IsShmem = false, IsHugetlb = false, OpenPath = path },
        };
    }
}
