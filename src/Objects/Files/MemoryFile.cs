using System.Globalization;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>memfd_create(2): a file that only memory holds, with its seals.</summary>
public sealed class MemoryFile : IFileKind
{
    /// <inheritdoc/>
    public string Name => "memfd";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "content (64 MiB in all of what is not mapped), size, seals, offset, mode",
        "",
        "more than that, memfds of huge pages");

    /// <summary>True for what /proc/PID/fd or maps shows of one.</summary>
    public static bool IsLink(string link)
    {
        ArgumentNullException.ThrowIfNull(link);
        return link.StartsWith("/memfd:", StringComparison.Ordinal);
    }

    /// <inheritdoc/>
    public bool Is(Fd fd) => IsLink(fd.Link);

    /// <inheritdoc/>
    public void Dump(FileObject file, Func<SafeFileHandle> open)
    {
        if (RawFile.FileSystemType(string.Create(CultureInfo.InvariantCulture, $"/proc/{file.Uses[0].Process.Pid}/fd/{file.Fd.Number}")) == RawFile.HugetlbfsMagic)
            throw new TargetException("a memfd of huge pages");
        uint seals;
        using (var memory = open()) seals = Descriptors.GetSeals(memory);
        // Also if the content is too much: mappings refer to it.
        file.Record.Content = new FileContent { SizeBytes = file.Fd.SizeBytes, Unnamed = true, Seals = seals };
        if (file.Contents is not { } contents) return;
        file.Record.Content = contents.SaveUnnamed(file);
        file.Record.Content.Seals = seals;
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        if (file.Record.Content is null) return Verdict.Refused("what it holds is not known");
        return FileLocks.WhyNot(file) is { } why ? Verdict.Refused(why) : Verdict.Restarts;
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var handle = Descriptors.OpenAgain(UnnamedFiles.Get(scene, file.Fd.Dev, file.Fd.Inode, file.Link), file.Info.Flags);
        Descriptors.Seek(handle, file.Info.Position);
        FileLocks.TakeShared(file, handle);
        return handle;
    }

    /// <inheritdoc/>
    public void Complete(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
        // Sealed when it is filled and mapped. Another description of it may have done that.
        var memory = UnnamedFiles.Get(scene, file.Fd.Dev, file.Fd.Inode, file.Link);
        var missing = file.Record.Content.Seals & ~Descriptors.GetSeals(memory);
        if (missing != 0) Descriptors.AddSeals(memory, missing);
    }

    /// <inheritdoc/>
    public void Finish(FileObject file, FdUse use, IProcessCalls process, RestartScene scene) => FileLocks.TakeOwn(file, use, process);
}
