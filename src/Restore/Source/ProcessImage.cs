using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Memory;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore;

/// <summary>
/// The memory of one process of a checkpoint: what the store has, and what is still to be had from the mapped files.
/// A page whose content isn't known is reported as missing, never guessed.
/// </summary>
public sealed class ProcessImage
{
    private readonly ICheckpointImage image;
    private readonly FileBackings files;

    /// <summary>Checks that the VMAs are whole pages in ascending order.</summary>
    /// <param name="image">The checkpoint.</param>
    /// <param name="process">One of its processes.</param>
    /// <param name="files">Mapped files, shared by the processes of a checkpoint.</param>
    /// <exception cref="StoreDamagedException">The VMAs make no sense.</exception>
    public ProcessImage(ICheckpointImage image, Process process, FileBackings files)
    {
        this.image = image;
        this.files = files;
        Process = process;
        ulong last = 0;
        foreach (var vma in process.Vmas)
        {
            if (vma.Start >= vma.End || vma.Start < last || (vma.Start | vma.End) % VirtualPage.Size != 0)
                throw new StoreDamagedException($"CRID {image.Manifest.Crid}, process {process.Pid}: VMA {vma.Start:x}-{vma.End:x} is empty, unaligned or out of order");
            last = vma.End;
        }
    }

    /// <summary>State, VMAs, threads.</summary>
    public Process Process { get; }

    /// <summary>The pages of a VMA.</summary>
    public static PageRange RangeOf(Vma vma) => PageRange.OfAddresses(vma.Start, vma.End);

    /// <summary>All pages of a VMA in address order, neighbours of one kind joined. Cheap: reads the page map, no content.</summary>
    public IEnumerable<ImageRun> Runs(Vma vma) => Runs(vma, RangeOf(vma));

    /// <summary>The same for a part of a VMA.</summary>
    public IEnumerable<ImageRun> Runs(Vma vma, PageRange within)
    {
        ImageRun? held = null;
        foreach (var run in RawRuns(vma, within))
        {
            if (held is { } h && h.Content == run.Content)
            {
                held = new ImageRun(new PageRange(h.Range.Start, h.Range.Count + run.Range.Count), run.Content);
                continue;
            }
            if (held is { } done)
                yield return done;
            held = run;
        }
        if (held is { } rest)
            yield return rest;
    }

    /// <summary>True if the page map has content for some page of the VMA: it was written to, or it isn't backed by a file.</summary>
    public bool HasOwnPages(Vma vma) => image.Spans(new SpaceId(Process.Space), RangeOf(vma)).Any(s => s.Kind is PageKind.Chunk or PageKind.Zero);

    /// <summary>Reads pages of <see cref="ImageContent.Saved"/> runs, all at once.</summary>
    /// <exception cref="StoreDamagedException">The store can't give them.</exception>
    internal void ReadSaved(IReadOnlyList<PageTarget> targets) => image.Read(new SpaceId(Process.Space), targets);

    /// <summary>Reads pages of an <see cref="ImageContent.File"/> run; the destination has exactly their size.</summary>
    /// <exception cref="EnvironmentException">The mapped file can't be read.</exception>
    internal void ReadFile(Vma vma, PageRange range, Span<byte> destination)
    {
        var handle = files.Open(vma.Backing) ?? throw new InvalidOperationException($"{vma.Backing.Path} is not to be had");
        var offset = vma.OffsetBytes + (range.Start.Address - vma.Start);
        var wanted = (int)Math.Min((ulong)destination.Length, vma.Backing.SizeBytes - offset);
        ReadExactly(handle, destination[..wanted], (long)offset, vma.Backing.Path);
        destination[wanted..].Clear();
    }

    /// <summary>Counts the pages that are missing for want of their file, for <see cref="FileBackings.Warnings"/>.</summary>
    public void NoteMissing(Vma vma, PageRange range)
    {
        if (vma is { Content: VmaContent.FileBacked, Backing: { } backing } && files.Open(backing) is null)
            files.CountMissing(backing, range.Count);
    }

    private IEnumerable<ImageRun> RawRuns(Vma vma, PageRange within)
    {
        if (vma.Content == VmaContent.NotCaptured)
        {
            yield return new ImageRun(within, ImageContent.Missing);
            yield break;
        }
        var next = within.Start;
        foreach (var span in image.Spans(new SpaceId(Process.Space), within))
        {
            foreach (var gap in AbsentRuns(vma, PageRange.Between(next, span.Range.Start)))
                yield return gap;
            next = span.Range.End;
            if (span.Kind == PageKind.Absent)
            {
                foreach (var absent in AbsentRuns(vma, span.Range))
                    yield return absent;
                continue;
            }
            yield return new ImageRun(span.Range, span.Kind switch
            {
                PageKind.Zero => ImageContent.Zero,
                PageKind.Chunk => ImageContent.Saved,
                _ => ImageContent.Missing,
            });
        }
        foreach (var gap in AbsentRuns(vma, PageRange.Between(next, within.End)))
            yield return gap;
    }

    // Absent pages of a file mapping are the file's; behind its last page there is nothing (SIGBUS), which cores show as zeros.
    private IEnumerable<ImageRun> AbsentRuns(Vma vma, PageRange range)
    {
        if (range.IsEmpty)
            yield break;
        if (vma.Content != VmaContent.FileBacked)
        {
            yield return new ImageRun(range, ImageContent.Zero);
            yield break;
        }
        var backing = vma.Backing;
        if (backing is null)
        {
            yield return new ImageRun(range, ImageContent.Missing);
            yield break;
        }
        var bytesInFile = backing.SizeBytes > vma.OffsetBytes ? backing.SizeBytes - vma.OffsetBytes : 0;
        var pagesInFile = (bytesInFile / VirtualPage.Size) + (bytesInFile % VirtualPage.Size != 0 ? 1UL : 0);
        var inFile = range.Intersect(new PageRange(VirtualPage.Of(vma.Start), pagesInFile));
        if (!inFile.IsEmpty)
            yield return new ImageRun(inFile, files.Open(backing) is null ? ImageContent.Missing : ImageContent.File);
        var behind = PageRange.Between(inFile.IsEmpty ? range.Start : inFile.End, range.End);
        if (!behind.IsEmpty)
            yield return new ImageRun(behind, ImageContent.Zero);
    }

    private static void ReadExactly(SafeFileHandle handle, Span<byte> destination, long offset, string path)
    {
        while (!destination.IsEmpty)
        {
            int read;
            try
            {
                read = RandomAccess.Read(handle, destination, offset);
            }
            catch (IOException e)
            {
                throw new EnvironmentException($"reading {path} at {offset} failed: {e.Message}", null, e);
            }
            if (read == 0)
                throw new EnvironmentException($"{path} became shorter while its pages were being read", "try again");
            destination = destination[read..];
            offset += read;
        }
    }
}
