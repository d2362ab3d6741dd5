using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>Files and directories of file systems, opened again by their path.</summary>
public sealed class RegularFile : IFileKind
{
    private const uint Regular = 0x8000, Directory = 0x4000; // S_IFREG, S_IFDIR, inode(7)
    private const int PathOnly = 0x200000, Append = 0x400;   // O_PATH, O_APPEND, open(2)

    /// <inheritdoc/>
    public string Name => "file";

    /// <inheritdoc/>
    public bool Is(Fd fd) => (fd.Mode & 0xf000) is Regular or Directory && fd.Link.StartsWith('/') && !MemoryFile.IsLink(fd.Link);

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        if (file.Link.EndsWith(" (deleted)", StringComparison.Ordinal)) return Verdict.Refused("its last name was deleted");
        if (file.Link.StartsWith("/proc/", StringComparison.Ordinal)) return Verdict.Restarts;
        if (FileStatus.TryOf(file.Link, out var now) is var errno and not 0) return Verdict.Refused($"it can't be opened: {Errno.Describe(errno)}");
        if ((now.Mode & 0xf000) != file.Type) return Verdict.Refused("another kind of file has its name now");
        if (Changed(file, now) is not { } how) return Verdict.Restarts;
        return scene.ChangedFiles == FilesPolicy.MustMatch && !IsLog(file)
            ? Verdict.Refused($"{how} since the capture; --files warn takes it as it is")
            : Verdict.Policy("--files", $"{how} since the capture");
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        try
        {
            var handle = RawFile.Open(file.Link, (RawOpen)file.Info.Flags);
            if (file.Type == Regular && (file.Info.Flags & PathOnly) == 0) Descriptors.Seek(handle, file.Info.Position);
            return handle;
        }
        catch (LinuxException e)
        {
            throw new EnvironmentException($"{file}: {e.Message}", "--map-fd N=PATH puts another file in its place", e);
        }
    }

    // What is written at its end only, wherever that is.
    private static bool IsLog(FileObject file) => (file.Info.Flags & Append) != 0 && file.Access == 1;

    private static string? Changed(FileObject file, FileStatus now)
    {
        if (file.Type != Regular || (file.Info.Flags & PathOnly) != 0) return null;
        if (now.SizeBytes != file.Fd.SizeBytes) return $"its size has changed from {file.Fd.SizeBytes} to {now.SizeBytes} bytes";
        return now.MtimeNs != file.Fd.MtimeNs ? "it was written to" : null;
    }
}
