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
        var runs = new List<PageRun>();
        SharedData.Find(Environment.ProcessId, vma, runs);
        Assert.Equal(vma.Range.Count, Assert.Single(runs).Range.Count);
    }

    [Fact]
    public void The_mapped_file_itself_says_how_much_of_it_there_is()
    {
        using var directory = new TempDir("crstore-shared-");
        var file = directory.File("file");
        File.WriteAllBytes(file, new byte[3 * Page]);
        var runs = new List<PageRun>();
        SharedData.Find(Environment.ProcessId, Unmapped(file, FileStatus.Of(file), FileStatus.Of(file).Inode), runs);
        Assert.Equal(3UL, Assert.Single(runs).Range.Count);
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
