using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>Files and directories of file systems, opened again by their path; deleted files are made anew, without a name.</summary>
public sealed class RegularFile : IFileKind
{
    private const uint Regular = 0x8000, Directory = 0x4000, SymbolicLink = 0xa000; // S_IFREG, S_IFDIR, S_IFLNK, inode(7)
    private const int PathOnly = 0x200000, Append = 0x400, TemporaryFile = 0x410000; // O_PATH, O_APPEND, O_TMPFILE, open(2)
    private const string DeletedSuffix = " (deleted)";

    /// <inheritdoc/>
    public string Name => "file";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "files and directories by their path, with offset, flags, locks (POSIX, OFD, flock); deleted files (64 MiB in all of what is not mapped); O_PATH",
        "files that have changed: --files, or capture --with-files, which puts them back",
        "files that are gone, deleted files with another name, leases, directories watched with dnotify, locks that somebody else has now, files of a process in /proc with --new-pids");

    /// <inheritdoc/>
    public bool Is(Fd fd) => (fd.Mode & 0xf000) is Regular or Directory or SymbolicLink && fd.Link.StartsWith('/') && !MemoryFile.IsLink(fd.Link);

    /// <inheritdoc/>
    public void Dump(FileObject file, Func<SafeFileHandle> open)
    {
        if (file.Contents is not { } contents) return;
        if (!file.Link.EndsWith(DeletedSuffix, StringComparison.Ordinal))
        {
            if (contents.WithFiles && HasContent(file) && !IsOfKernel(file.Link) && FileLocks.WhyNot(file) is null) file.Record.Content = contents.SaveNamed(file);
            return;
        }

        if (FileStatus.TryOf(file.Link, out var named) == 0 && named.Inode == file.Fd.Inode && named.Dev == file.Fd.Dev) return; // such is its name
        if (file.Type != Regular) throw new TargetException("a directory that was deleted");
        var status = FileStatus.Of(string.Create(CultureInfo.InvariantCulture, $"/proc/{file.Uses[0].Process.Pid}/fd/{file.Fd.Number}"));
        if (status.Links > 0) throw new TargetException("the name that it was opened by was deleted, and it has another one, which can't be found");
        if (FileLocks.WhyNot(file) is { } why) throw new TargetException(why); // opening it would break a lease
        file.Record.Content = new FileContent { SizeBytes = file.Fd.SizeBytes, Unnamed = true };
        file.Record.Content = contents.SaveUnnamed(file);
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        if (FileLocks.WhyNot(file) is { } lockedHow) return Verdict.Refused(lockedHow);
        if (file.Record.Content is { Unnamed: true })
        {
            var directory = Path.GetDirectoryName(UnnamedFiles.Plain(file.Link)) ?? "/";
            return FileStatus.TryOf(directory, out var at) == 0 && at.IsDirectory
                ? Verdict.Restarts : Verdict.Refused($"its name was deleted, and {directory}, where it is to be made anew, is gone");
        }

        if (InProcess(file, scene) is { } pid)
        {
            if (scene.NewPids || scene.Ids.Of(pid) != pid) return Verdict.Refused("it is in a process's directory in /proc, where the host's ids are, and the process has another one there");
            return file.Uses.DistinctBy(u => u.Process.Pid).Count() == 1
                ? Verdict.Restarts : Verdict.Refused("several processes share one open file of a process's directory in /proc");
        }

        var missing = file.Type == SymbolicLink ? FileStatus.TryOfLink(file.Link, out var now) : FileStatus.TryOf(file.Link, out now);
        if (missing == Errno.ENOENT && IsPutBack(file, scene) && !IsOwnUsers(file)) return Verdict.Refused("it is gone, and another user's: crstore makes no files for others");
        if (missing == Errno.ENOENT && IsPutBack(file, scene)) return Verdict.Policy("--with-files", "it is gone, and is made anew");
        if (missing != 0) return Verdict.Refused($"it can't be opened: {Errno.Describe(missing)}");
        if (IsOfKernel(file.Link)) return Verdict.Restarts;
        if ((now.Mode & 0xf000) != file.Type) return Verdict.Refused("another kind of file has its name now");
        if (!scene.JustCaptured && (now.Dev != file.Fd.Dev || now.Inode != file.Fd.Inode) && !IsOwnUsers(file))
            return Verdict.Refused("another file has its name now, which may not be the process's to open; --map-fd N=PATH gives it that one, or another");
        if (scene.JustCaptured || Changed(file, now) is not { } how) return Verdict.Restarts;
        if (IsPutBack(file, scene)) return Verdict.Policy("--with-files", $"{how} since the capture: what it was then is written over it");
        return scene.ChangedFiles == FilesPolicy.MustMatch && !IsLog(file)
            ? Verdict.Refused($"{how} since the capture; --files warn takes it as it is")
            : Verdict.Policy(RestartScene.FilesFlag, $"{how} since the capture");
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        if (file.Record.Content is { Unnamed: true })
            return Prepare(file, Descriptors.OpenAgain(UnnamedFiles.Get(scene, file.Fd.Dev, file.Fd.Inode, file.Link), file.Info.Flags & ~TemporaryFile));
        if (InProcess(file, scene) is not null) return null;
        try
        {
            // What is gone has to be there to be opened. What has changed is written over last of all, when nothing else can fail.
            if (IsPutBack(file, scene) && FileStatus.TryOf(file.Link, out _) != 0) PutBack(file, scene);
            return Prepare(file, OpenSame(file));
        }
        catch (LinuxException e)
        {
            throw new EnvironmentException($"{file}: {e.Message}", "--map-fd N=PATH puts another file in its place", e);
        }
    }

    /// <inheritdoc/>
    public void Complete(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
        if (InProcess(file, scene) is null)
        {
            if (file.Record.Content is not { Unnamed: true } && IsPutBack(file, scene) && FileStatus.TryOf(file.Link, out var now) == 0 && Changed(file, now) is not null) scene.AtLast.Add(() => PutBack(file, scene));
            return;
        }

        OpenedInProcess.Place(file, file.Uses, process, OpenedInProcess.Open(file, process));
        if (HasContent(file)) process.Queue($"lseek of {file}", OpenedInProcess.Lseek, file.Fd.Number, file.Info.Position, 0);
    }

    /// <inheritdoc/>
    public void Finish(FileObject file, FdUse use, IProcessCalls process, RestartScene scene) => FileLocks.TakeOwn(file, use, process);

    // By its path another file may be had by now, and with crstore's rights: a link to one that the process could not have opened. What has the
    // identity of the one that it had open may be opened again for it; others only if it is crstore's own user who asks.
    private static SafeFileHandle OpenSame(FileObject file)
    {
        var handle = RawFile.Open(file.Link, (RawOpen)file.Info.Flags);
        var now = FileStatus.Of(handle);
        if ((now.Dev == file.Fd.Dev && now.Inode == file.Fd.Inode) || IsOfKernel(file.Link)) return handle;
        if (IsOwnUsers(file)) return handle;
        handle.Dispose();
        throw new TargetException($"{file}: another file has its name now, which may not be the process's to open", "--map-fd N=PATH gives it that one, or another");
    }

    private static bool IsOwnUsers(FileObject file) =>
        file.Uses.All(u => u.Process.Credentials is { } who && who.Uid.All(id => id == ThisProcess.EffectiveUser()));

    private static SafeFileHandle Prepare(FileObject file, SafeFileHandle handle)
    {
        try
        {
            if (HasContent(file)) Descriptors.Seek(handle, file.Info.Position);
            else if (file.Type == Directory && file.Info.Position != 0 && (file.Info.Flags & PathOnly) == 0) Descriptors.SeekDirectory(handle, file.Info.Position);
            FileLocks.TakeShared(file, handle);
            return handle;
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    private static bool HasContent(FileObject file) => file.Type == Regular && (file.Info.Flags & PathOnly) == 0;

    private static bool IsOfKernel(string link) => link.StartsWith("/proc/", StringComparison.Ordinal) || link.StartsWith("/sys/", StringComparison.Ordinal);

    /// <summary>The process of the checkpoint in whose directory of /proc it is: there is no such process yet when files are opened.</summary>
    private static int? InProcess(FileObject file, RestartScene scene) =>
        file.Link.Split('/') is ["", "proc", var pid, ..] && int.TryParse(pid, CultureInfo.InvariantCulture, out var number) && scene.Body.Processes.Any(p => p.Pid == scene.Ids.Of(number)) ? number : null;

    // What the content of the file is to be, --with-files; unless the user wants it as it is.
    private static bool IsPutBack(FileObject file, RestartScene scene) => !scene.NewPids && scene.ChangedFiles == FilesPolicy.MustMatch && ContentOf(file, scene) is not null;

    // Of several descriptions of a file the first one has it.
    private static FileContent? ContentOf(FileObject file, RestartScene scene) => !HasContent(file) ? null
        : file.Record.Content is { Saved: true } mine ? mine
        : scene.Files.FirstOrDefault(f => f.Fd.Inode == file.Fd.Inode && f.Fd.Dev == file.Fd.Dev && f.Record.Content is { Saved: true })?.Record.Content;

    private static void PutBack(FileObject file, RestartScene scene) => scene.Share("put back " + file.Link, () =>
    {
        var isNew = FileStatus.TryOf(file.Link, out _) == Errno.ENOENT;
        var handle = RawFile.Open(file.Link, RawOpen.WriteOnly | RawOpen.Create | RawOpen.NonBlock | RawOpen.NoFollow, 0x180 /* 0600 */);
        if (!isNew && !IsOwnUsers(file) && (FileStatus.Of(handle) is var now) && (now.Dev != file.Fd.Dev || now.Inode != file.Fd.Inode))
            throw new TargetException($"{file}: another file has its name now");
        if (isNew) Descriptors.SetMode(handle, file.Fd.Mode); // whatever crstore's umask is
        // What is a hole must not keep what is there now.
        FileCalls.SetLength(handle, 0, file.Link);
        UnnamedFiles.Fill(handle, ContentOf(file, scene)!, file.Link);
        scene.Warnings.Add($"{file.Link} is again what it was at the capture");
        return [handle];
    });

    // What is written at its end only, wherever that is.
    private static bool IsLog(FileObject file) => (file.Info.Flags & Append) != 0 && file.Access == 1;

    private static string? Changed(FileObject file, FileStatus now)
    {
        if (!HasContent(file)) return null;
        if (now.SizeBytes != file.Fd.SizeBytes) return $"its size has changed from {file.Fd.SizeBytes} to {now.SizeBytes} bytes";
        return now.MtimeNs != file.Fd.MtimeNs ? "it was written to" : null;
    }
}
