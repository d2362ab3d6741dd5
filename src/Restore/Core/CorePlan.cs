using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore;

/// <summary>A PT_LOAD of a core: pages of one VMA of which the first ones are in the file.</summary>
/// <param name="Vma">The mapping.</param>
/// <param name="Range">What the program header covers.</param>
/// <param name="FilePages">How many pages, from the start, have content in the file.</param>
internal readonly record struct CoreSegment(Vma Vma, PageRange Range, ulong FilePages);

/// <summary>
/// Which pages of a process go into its core. As the kernel's default coredump_filter (core(5)) does it: every page that
/// isn't an unmodified file page, whole file mappings of which something was modified or is writable, and the first page
/// (ELF header, build id) of the others; a debugger reads the rest from the files that NT_FILE names.
/// </summary>
internal static class CorePlan
{
    // A mapping above this size is cut behind its last page with content: a 20 TB shadow area would exceed what file
    // systems allow even for a hole, and readers take what is not in the file as zeros.
    private const ulong TrimAbovePages = SizeLimits.WholeHoleBytes / VirtualPage.Size;

    /// <summary>The segments in address order. A run of missing pages gets no segment: a debugger then says that it can't
    /// access it, instead of showing zeros.</summary>
    internal static List<CoreSegment> Plan(ProcessImage process, CancellationToken cancel)
    {
        var segments = new List<CoreSegment>();
        foreach (var vma in process.Process.Vmas)
        {
            cancel.ThrowIfCancellationRequested();
            if (vma.Content == VmaContent.NotCaptured)
                continue;
            if (IsReferenced(process, vma))
                AddReferenced(process, vma, segments);
            else
                AddWhole(process, vma, segments);
        }
        return segments;
    }

    private static bool IsReferenced(ProcessImage process, Vma vma) =>
        vma.Content == VmaContent.FileBacked && !vma.Embedded && (vma.Protection & 2) == 0 && !process.HasOwnPages(vma);

    private static void AddReferenced(ProcessImage process, Vma vma, List<CoreSegment> segments)
    {
        var range = ProcessImage.RangeOf(vma);
        var first = new PageRange(range.Start, 1);
        var hasHeader = vma.OffsetBytes == 0 && process.Runs(vma, first).All(r => r.Content != ImageContent.Missing);
        segments.Add(new CoreSegment(vma, range, hasHeader ? 1UL : 0));
        // Not written here, but a reader of the core will look for them in the file.
        foreach (var run in process.Runs(vma).Where(r => r.Content == ImageContent.Missing))
            process.NoteMissing(vma, run.Range);
    }

    private static void AddWhole(ProcessImage process, Vma vma, List<CoreSegment> segments)
    {
        ulong? start = null;
        ulong contentEnd = 0;
        foreach (var run in process.Runs(vma))
        {
            if (run.Content == ImageContent.Missing)
            {
                process.NoteMissing(vma, run.Range);
                Close(run.Range.Start.Number);
                continue;
            }
            start ??= run.Range.Start.Number;
            if (run.Content != ImageContent.Zero)
                contentEnd = run.Range.End.Number;
        }
        Close(vma.End >> VirtualPage.Shift);

        void Close(ulong end)
        {
            if (start is not { } from)
                return;
            var pages = end - from;
            var inFile = pages <= TrimAbovePages ? pages : contentEnd > from ? contentEnd - from : 0;
            segments.Add(new CoreSegment(vma, new PageRange(new VirtualPage(from), pages), inFile));
            start = null;
        }
    }
}
