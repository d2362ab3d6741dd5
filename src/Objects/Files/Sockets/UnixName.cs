using System.Text;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Sockets;
using Crstore.Model;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>
/// Names of unix sockets: abstract ones, and those that are files. crstore may be root, and others may write where the file is: it acts in a
/// <see cref="TrustedDirectory"/>, and on the file that it holds. Only bind(2) takes the name as it was, since getsockname(2) shows it ever after.
/// </summary>
internal static class UnixName
{
    private const uint SocketType = 0xc000, TypeMask = 0xf000; // S_IFSOCK, S_IFMT, inode(7)

    /// <summary>Binds a socket to the name that it had. The file that its predecessor has left behind is replaced.</summary>
    /// <param name="file">Whose name.</param>
    /// <param name="socket">The new one.</param>
    /// <param name="scene">If the restart fails, the file is removed.</param>
    /// <exception cref="EnvironmentException">Somebody else has the name, or could lead it astray; says who.</exception>
    internal static void Bind(FileObject file, SafeFileHandle socket, RestartScene scene)
    {
        var name = file.Record.UnixSocket.Name;
        if (PathOf(file, name) is not { } path)
        {
            BindTo(file, name, socket);
            return;
        }

        var (uid, gid) = Owner(file);
        var directory = TrustedDirectory.Open(Path.GetDirectoryName(path)!, uid, gid, file.ToString());
        scene.Keep(directory);
        var where = file.Record.UnixSocket.File;
        var entry = Path.GetFileName(path);
        MakeWay(file, directory, path);
        In(file, name, () =>
        {
            using (directory.Enter()) BindTo(file, name, socket);
        });
        var made = Hold(directory, entry);
        var status = made is null ? default : FileStatus.Of(made);
        if (made is null || !IsOf(socket, status)) throw new EnvironmentException($"{file}: {path} was exchanged as soon as it was bound", "try again");
        scene.Keep(made);
        if (where is null)
        {
            Remove(file, directory, path); // it has the name, but nobody finds it: as it was
            return;
        }

        scene.OnFailure(() =>
        {
            if (DirectoryEntries.TryHold(directory.Handle, entry, out var there) != 0) return;
            using (there)
            using (directory.Enter())
                if (FileStatus.Of(there!) is var now && now.Dev == status.Dev && now.Inode == status.Inode) DirectoryEntries.TryRemove(directory.Handle, entry);
        });
        if (status.Uid != where.Uid || status.Gid != where.Gid) Descriptors.SetOwner(made, where.Uid, where.Gid);
        DirectoryEntries.SetMode(made, where.Mode);
    }

    /// <summary>Does something with a name where that leads to its file: a relative one in the directory that it is relative to.</summary>
    internal static void In(FileObject file, ByteString name, Action act)
    {
        if (SocketNames.Path(name.Span) is not { } path || path.StartsWith('/'))
        {
            act();
            return;
        }

        var (uid, gid) = Owner(file);
        using var directory = TrustedDirectory.Open(DirectoryOf(file), uid, gid, file.ToString());
        var before = Directory.GetCurrentDirectory();
        Directory.SetCurrentDirectory(DirectoryEntries.Path(directory.Handle));
        try
        {
            act();
        }
        finally
        {
            Directory.SetCurrentDirectory(before);
        }
    }

    // A file's group may be that of a directory in which its user could make it; what root has made, root has given its group.
    private static (uint Uid, uint Gid) Owner(FileObject file)
    {
        var (where, maker) = (file.Record.UnixSocket.File, file.Record.UnixSocket.Socket);
        return where is null ? (maker.Uid, maker.Gid) : (where.Uid, maker.Uid == 0 ? where.Gid : maker.Gid);
    }

    private static string DirectoryOf(FileObject file) =>
        file.Record.UnixSocket.File is { Directory: { Length: > 0 } directory } ? directory : file.Uses[0].Process.Cwd;

    private static string? PathOf(FileObject file, ByteString name) => SocketNames.Path(name.Span) switch
    {
        null => null,
        ['/', ..] absolute => absolute,
        var relative => Path.Combine(DirectoryOf(file), relative),
    };

    private static void BindTo(FileObject file, ByteString name, SafeFileHandle socket)
    {
        var text = SocketNames.Text(name.Span);
        var errno = SocketCalls.TryBind(socket, name.Span);
        if (errno == Errno.EADDRINUSE) throw Taken(file, text, SocketOwners.DescribeUnix(text));
        if (errno != 0) throw new EnvironmentException($"{file}: bind to {text}: {Errno.Describe(errno)}", "--map-fd N=PATH puts a file in the socket's place");
    }

    private static void MakeWay(FileObject file, TrustedDirectory directory, string path)
    {
        using var stale = Hold(directory, Path.GetFileName(path));
        if (stale is null) return;
        var status = FileStatus.Of(stale);
        if ((status.Mode & TypeMask) != SocketType) throw new EnvironmentException($"{file}: {path} is another kind of file now", "move it out of the way");
        if (UnixDiag.All().Find(e => e.FileInode == (uint)status.Inode) is { } user) throw Taken(file, path, SocketOwners.Describe(user.Inode));
        if (!IsStale(stale)) throw Taken(file, path, "a process in another network namespace");
        if (file.Record.UnixSocket.File is not { } where) throw new EnvironmentException($"{file}: the socket's file {path} was deleted, and now there is another one", "move it out of the way");
        if (status.Uid != where.Uid) throw new EnvironmentException($"{file}: the socket's file {path} belonged to user {where.Uid}, and now to user {status.Uid}", "move it out of the way");
        Remove(file, directory, path);
    }

    private static void Remove(FileObject file, TrustedDirectory directory, string path)
    {
        using var _ = directory.Enter();
        var errno = DirectoryEntries.TryRemove(directory.Handle, Path.GetFileName(path));
        if (errno != 0) throw new EnvironmentException($"{file}: {path} can't be removed: {Errno.Describe(errno)}", "remove it");
    }

    // A socket of any namespace answers; one that listens is no datagram socket, and hears nothing of this one.
    private static bool IsStale(SafeFileHandle held)
    {
        using var probe = SocketCalls.Create(SocketNames.Unix, SocketNames.Datagram, 0);
        return SocketCalls.TryConnect(probe, [SocketNames.Unix, 0, .. Encoding.UTF8.GetBytes(DirectoryEntries.Path(held)), 0]) == Errno.ECONNREFUSED;
    }

    private static bool IsOf(SafeFileHandle socket, FileStatus status) =>
        (status.Mode & TypeMask) == SocketType && UnixDiag.Find(FileStatus.Of(socket).Inode)?.FileInode == (uint)status.Inode;

    private static SafeFileHandle? Hold(TrustedDirectory directory, string name)
    {
        var errno = DirectoryEntries.TryHold(directory.Handle, name, out var entry);
        return errno is 0 or Errno.ENOENT ? entry : throw new LinuxException("openat", errno, name);
    }

    private static EnvironmentException Taken(FileObject file, string name, string? who) =>
        new($"{file}: {name} is in use{(who is null ? "" : $" by {who}")}", "end that process, or --map-fd N=PATH puts a file in the socket's place");
}
