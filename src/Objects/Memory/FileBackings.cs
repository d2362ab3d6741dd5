using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Memory;

/// <summary>
/// The mapped files of a checkpoint that were not embedded in it. A file gives its pages only while it is the one that
/// was captured: same size and modification time, and the same build id (or device and inode if it has none).
/// </summary>
public sealed class FileBackings : IDisposable
{
    private readonly Dictionary<FileRef, Backing> files = [];
    private FileRef? lastReference;
    private Backing? last;

    /// <summary>One sentence per file that can't give its pages, for pages that were asked for.</summary>
    public IReadOnlyList<string> Warnings =>
        [.. files.Where(f => f.Value.MissingPages > 0).Select(f =>
            $"{f.Key.Path} {f.Value.WhyNot}: {f.Value.MissingPages} pages that were not saved because they were in it are missing")];

    /// <summary>The file if it is still the same, else null.</summary>
    public SafeFileHandle? Open(FileRef reference) => Find(reference).Handle;

    /// <summary>Why <see cref="Open"/> gave null.</summary>
    public string WhyNot(FileRef reference) => Find(reference).WhyNot;

    /// <summary>Counts pages that are missing because <see cref="Open"/> gave null.</summary>
    public void CountMissing(FileRef reference, ulong pages) => Find(reference).MissingPages += pages;

    /// <summary>Fails if a file was changed while it was being read: then what was written is of no use.</summary>
    /// <exception cref="EnvironmentException">Names the file.</exception>
    public void CheckStillTheSame()
    {
        foreach (var (reference, backing) in files)
        {
            if (backing.Handle is { } handle && Differs(reference, FileStatus.Of(handle)) is { } how)
                throw new EnvironmentException($"{reference.Path} {how} while its pages were being read", "try again");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var backing in files.Values)
            backing.Handle?.Dispose();
        files.Clear();
        (lastReference, last) = (null, null);
    }

    private Backing Find(FileRef reference)
    {
        // Pages are put into processes by two threads at once.
        lock (files)
        {
            // Asked for the same file many times over: comparing messages by value each time would cost more than the answer.
            if (last is not null && ReferenceEquals(reference, lastReference)) return last;
            if (!files.TryGetValue(reference, out var backing)) files.Add(reference, backing = TryOpen(reference));
            (lastReference, last) = (reference, backing);
            return backing;
        }
    }

    private static Backing TryOpen(FileRef reference)
    {
        if (reference.Deleted)
            return new Backing(null, "was deleted already at the capture");
        if (reference.Inode == 0)
            return new Backing(null, "could not be looked at when it was captured");
        SafeFileHandle? handle = null;
        try
        {
            handle = File.OpenHandle(reference.Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            var why = Differs(reference, FileStatus.Of(handle)) ?? DiffersInIdentity(reference, handle);
            if (why is null)
            {
                var backing = new Backing(handle, "");
                handle = null;
                return backing;
            }
            return new Backing(null, why + " since the capture");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return new Backing(null, "is gone");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or LinuxException)
        {
            return new Backing(null, $"can't be read ({e.Message})");
        }
        finally
        {
            handle?.Dispose();
        }
    }

    private static string? Differs(FileRef reference, FileStatus now)
    {
        if (!now.IsRegular)
            return "is no regular file any more";
        if (now.SizeBytes != reference.SizeBytes)
            return $"changed its size from {reference.SizeBytes} to {now.SizeBytes} bytes";
        return now.MtimeNs != reference.MtimeNs ? "was written to" : null;
    }

    private static string? DiffersInIdentity(FileRef reference, SafeFileHandle handle)
    {
        if (!reference.BuildId.IsEmpty)
            return BuildId.Read(handle).AsSpan().SequenceEqual(reference.BuildId.Span) ? null : "has another build id";
        var now = FileStatus.Of(handle);
        return now.Dev == reference.Dev && now.Inode == reference.Inode ? null : "was replaced by another file";
    }

    private sealed class Backing(SafeFileHandle? handle, string whyNot)
    {
        internal SafeFileHandle? Handle { get; } = handle;

        internal string WhyNot { get; } = whyNot;

        internal ulong MissingPages { get; set; }
    }
}
