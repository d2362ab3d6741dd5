using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Capture.Memory;

/// <summary>
/// Which pages of a mapped file or shared memory object are content. Reading a hole of shared memory through the target would
/// allocate it there, so holes are found by SEEK_DATA on the object and left alone.
/// </summary>
public static class SharedData
{
    // The page table tells nothing: another process may have written pages that this one never touched.
    private const PageCategories Populated = PageCategories.Present | PageCategories.Written;

    /// <summary>Flags of pages that may hold data or be holes, which can't be told: <see cref="PageAction.Hide"/>.</summary>
    public const PageCategories Unknown = PageCategories.None;

    /// <summary>Appends the pages of a VMA that hold data, up to the end of the file, and those that nobody can tell (<see cref="Unknown"/>).</summary>
    /// <param name="pid">Process.</param>
    /// <param name="vma">VMA with policy <see cref="ReadPolicy.SharedData"/> or <see cref="ReadPolicy.Everything"/>.</param>
    /// <param name="runs">Appended to.</param>
    public static void Find(int pid, PlannedVma vma, RunList<PageRun> runs)
    {
        if (vma.File is null)
        {
            runs.Add(new PageRun(vma.Range, Populated));
            return;
        }

        using var file = Open(pid, vma);
        var offset = vma.Entry.OffsetBytes;
        // Not up to the size seen earlier: it may have grown.
        var inFile = file is null ? vma.Range : UpTo(vma, FileStatus.Of(file).SizeBytes);
        if (vma.Policy == ReadPolicy.SharedData && (IsHugetlb(vma) || (file is null && MayHaveHoles(vma.File))))
        {
            FindMapped(pid, inFile, runs);
            return;
        }

        if (file is null || vma.Policy == ReadPolicy.Everything || !vma.File.IsShmem)
        {
            if (!inFile.IsEmpty) runs.Add(new PageRun(inFile, Populated));
            return;
        }

        var end = offset + inFile.SizeBytes;
        for (var at = offset; at < end;)
        {
            var data = RawFile.NextData(file, at, out var error);
            if (error != 0)
            {
                // No SEEK_DATA here: read all of what is left.
                runs.Add(new PageRun(Pages(vma, at, end), Populated));
                return;
            }

            if (data is null || data >= end) return;
            var hole = RawFile.NextHole(file, data.Value, out error) ?? end;
            RunBuilder.Append(runs, Pages(vma, data.Value, Math.Min(hole, end)), Populated);
            at = hole;
        }
    }

    /// <summary>Why pages are <see cref="Unknown"/>, for the manifest.</summary>
    public static string WhyUnknown(PlannedVma vma) => IsHugetlb(vma)
        ? "shared huge pages that this process has not mapped" : "shared memory that this process has not mapped, and that only root can look into";

    // Nothing to ask for holes (hugetlbfs has no SEEK_DATA): only what this process has mapped is known to be there. The rest may
    // be another process's data, or holes, which reading would fill; shared memory that is swapped out looks like them too.
    private static void FindMapped(int pid, PageRange range, RunList<PageRun> runs)
    {
        var mapped = new RunList<PageRun>();
        using (var scanner = KernelProbes.Current.OpenScanner(pid, needSoftDirty: false)) scanner.Scan(range, fileMapping: true, mapped);
        var at = range.Start;
        foreach (var run in mapped)
        {
            if (at.Number < run.Range.Start.Number) RunBuilder.Append(runs, PageRange.Between(at, run.Range.Start), Unknown);
            RunBuilder.Append(runs, run.Range, Populated | (run.Flags & PageCategories.Guard));
            at = run.Range.End;
        }

        if (at.Number < range.End.Number) RunBuilder.Append(runs, PageRange.Between(at, range.End), Unknown);
    }

    private static bool IsHugetlb(PlannedVma vma) => vma.File is { IsHugetlb: true } || VmaClassifier.HasFlag(vma.VmFlags, "ht");

    // Without a stat it may be anything, for instance a deleted file in /dev/shm. Holes of other file systems cost nothing to read.
    private static bool MayHaveHoles(MappedFile file) => file.IsShmem || file.Status is null;

    private static SafeFileHandle? Open(int pid, PlannedVma vma)
    {
        var path = $"/proc/{pid}/map_files/{vma.Entry.Start:x}-{vma.Entry.End:x}";
        if (RawFile.TryOpen(path, RawOpen.NonBlock, 0, out var file) == 0) return file;
        // Without the capability for map_files: the target's own fd of the same object, if it has one. It may have closed that
        // since, and have another file under the number: the holes of that one would be taken for ours.
        if (vma.File!.OpenPath is not { } other || vma.File.Status is not { IsRegular: true }
            || RawFile.TryOpen(other, RawOpen.NonBlock, 0, out file) != 0) return null;
        var status = FileStatus.Of(file!);
        if (status.Dev == vma.Entry.Device.Encoded && status.Inode == vma.Entry.Inode) return file;
        file!.Dispose();
        return null;
    }

    private static PageRange UpTo(PlannedVma vma, ulong? sizeBytes)
    {
        if (sizeBytes is not { } size || vma.File is { Status.IsRegular: false }) return vma.Range;
        var pages = size <= vma.Entry.OffsetBytes ? 0 : (size - vma.Entry.OffsetBytes + VirtualPage.Size - 1) >> VirtualPage.Shift;
        return new PageRange(vma.Range.Start, Math.Min(pages, vma.Range.Count));
    }

    private static PageRange Pages(PlannedVma vma, ulong fromOffset, ulong toOffset)
    {
        var first = (fromOffset - vma.Entry.OffsetBytes) >> VirtualPage.Shift;
        var last = (toOffset - vma.Entry.OffsetBytes + VirtualPage.Size - 1) >> VirtualPage.Shift;
        return new PageRange(vma.Range.Start + first, last - first);
    }
}
