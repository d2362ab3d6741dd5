using System.Globalization;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>A part of a file or shared memory object.</summary>
/// <param name="Dev">As in st_dev.</param>
/// <param name="Inode">Inode number.</param>
/// <param name="Start">First byte.</param>
/// <param name="End">First byte behind it.</param>
public readonly record struct FileRange(ulong Dev, ulong Inode, ulong Start, ulong End);

/// <summary>
/// Keeps, in the freeze, the content of files that can't be opened again, and with --with-files of those that can: what no saved mapping
/// has already. At most <see cref="LimitBytes"/> of each of these two sorts.
/// </summary>
/// <param name="withFiles">Files with a name, too.</param>
/// <param name="saved">What the page maps have.</param>
public sealed class ContentSaver(bool withFiles, IEnumerable<FileRange> saved)
{
    /// <summary>Of one sort, in one checkpoint.</summary>
    public const ulong LimitBytes = 64 << 20;

    private const int SegmentBytes = 1 << 20;
    private const RawOpen NoAccessTime = (RawOpen)0x40000; // O_NOATIME, open(2)
    private readonly HashSet<(ulong Dev, ulong Inode)> done = [];
    private readonly ILookup<(ulong Dev, ulong Inode), FileRange> covered = saved.ToLookup(r => (r.Dev, r.Inode));
    private ulong unnamedBytes;
    private ulong namedBytes;

    /// <summary>Files with a name are wanted too.</summary>
    public bool WithFiles => withFiles;

    /// <summary>Saves the content of a file that has no name, but for what is mapped; with the first of its descriptions only.</summary>
    /// <exception cref="TargetException">It is too much.</exception>
    public FileContent SaveUnnamed(FileObject file)
    {
        ArgumentNullException.ThrowIfNull(file);
        var content = new FileContent { SizeBytes = file.Fd.SizeBytes, Unnamed = true };
        if (!done.Add((file.Fd.Dev, file.Fd.Inode))) return content;
        using var handle = Open(file);
        var status = FileStatus.Of(handle);
        (content.Uid, content.Gid) = (status.Uid, status.Gid);
        var ranges = Uncovered(Data(handle, file), [.. covered[(file.Fd.Dev, file.Fd.Inode)].OrderBy(r => r.Start)]).ToList();
        unnamedBytes += Sum(ranges);
        if (unnamedBytes > LimitBytes)
            throw new TargetException($"what it and files like it hold besides mapped memory is more than the {LimitBytes >> 20} MiB that a checkpoint takes");
        Read(handle, ranges, content, file);
        return content;
    }

    /// <summary>Saves the content of a file that has a name, if that is wanted and there is room for it.</summary>
    public FileContent? SaveNamed(FileObject file)
    {
        ArgumentNullException.ThrowIfNull(file);
        if (!withFiles || !done.Add((file.Fd.Dev, file.Fd.Inode))) return null;
        var content = new FileContent { SizeBytes = file.Fd.SizeBytes };
        using var handle = Open(file);
        var ranges = Data(handle, file).ToList();
        var bytes = Sum(ranges);
        if (namedBytes + bytes > LimitBytes) return content;
        namedBytes += bytes;
        Read(handle, ranges, content, file);
        return content;
    }

    // Not a duplicate: the offset of that, which SEEK_DATA moves, is the target's, and it may not be open for reading.
    private static SafeFileHandle Open(FileObject file) => RawFile.Open(
        string.Create(CultureInfo.InvariantCulture, $"/proc/{file.Uses[0].Process.Pid}/fd/{file.Fd.Number}"), RawOpen.NonBlock | NoAccessTime);

    private static IEnumerable<(ulong Start, ulong End)> Data(SafeFileHandle handle, FileObject file)
    {
        var size = file.Fd.SizeBytes;
        for (ulong at = 0; at < size;)
        {
            var data = RawFile.NextData(handle, at, out var error);
            if (error != 0)
            {
                yield return (at, size); // no SEEK_DATA here
                yield break;
            }

            if (data is not { } start || start >= size) yield break;
            var end = Math.Min(RawFile.NextHole(handle, start, out error) ?? size, size);
            yield return (start, end);
            at = end;
        }
    }

    private static IEnumerable<(ulong Start, ulong End)> Uncovered(IEnumerable<(ulong Start, ulong End)> data, IReadOnlyList<FileRange> cover)
    {
        foreach (var (start, end) in data)
        {
            var at = start;
            foreach (var range in cover)
            {
                if (range.End <= at || range.Start >= end) continue;
                if (range.Start > at) yield return (at, range.Start);
                at = Math.Min(end, range.End);
            }

            if (at < end) yield return (at, end);
        }
    }

    private static ulong Sum(IEnumerable<(ulong Start, ulong End)> ranges) => ranges.Aggregate(0UL, (sum, r) => sum + (r.End - r.Start));

    private static void Read(SafeFileHandle handle, IEnumerable<(ulong Start, ulong End)> ranges, FileContent content, FileObject file)
    {
        foreach (var (start, end) in ranges)
        {
            for (var at = start; at < end;)
            {
                var bytes = new byte[(int)Math.Min(SegmentBytes, end - at)];
                var n = FileCalls.ReadAt(handle, bytes, (long)at, file.Link);
                if (n < bytes.Length) throw new TargetException($"{file}: {bytes.Length - n} bytes at {at} can't be read");
                content.Segments.Add(new FileSegment { OffsetBytes = at, Content = UnsafeByteOperations.UnsafeWrap(bytes) });
                at += (ulong)n;
            }
        }

        content.Saved = true;
    }
}
