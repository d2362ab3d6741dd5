using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Sockets;
using Crstore.Model;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>Names of unix sockets: abstract ones, and those that are files.</summary>
internal static class UnixName
{
    private const uint SocketType = 0xc000, TypeMask = 0xf000; // S_IFSOCK, S_IFMT, inode(7)

    /// <summary>Binds a socket to the name that it had. The file that its predecessor has left behind is replaced.</summary>
    /// <exception cref="EnvironmentException">Somebody else has the name; says who.</exception>
    internal static void Bind(FileObject file, SafeFileHandle socket)
    {
        var (name, where) = (file.Record.UnixSocket.Name, file.Record.UnixSocket.File);
        var path = PathOf(file, name);
        if (path is not null) MakeWay(file, path, where is null);
        In(file, name, () =>
        {
            var errno = SocketCalls.TryBind(socket, name.Span);
            if (errno == Errno.EADDRINUSE) throw Taken(file, SocketNames.Text(name.Span), SocketOwners.DescribeUnix(SocketNames.Text(name.Span)));
            if (errno != 0) throw new EnvironmentException($"{file}: bind to {SocketNames.Text(name.Span)}: {Errno.Describe(errno)}");
        });
        if (path is null) return;
        if (where is null)
        {
            File.Delete(path); // it has the name, but nobody finds it: as it was
            return;
        }

        FileCalls.SetOwner(path, where.Uid, where.Gid);
        File.SetUnixFileMode(path, (UnixFileMode)where.Mode);
    }

    /// <summary>Does something with a name where that leads to its file: a relative one in the directory that it is relative to.</summary>
    internal static void In(FileObject file, ByteString name, Action act)
    {
        var directory = SocketNames.Path(name.Span) is { } path && !path.StartsWith('/') ? DirectoryOf(file) : null;
        if (directory is null)
        {
            act();
            return;
        }

        var before = Directory.GetCurrentDirectory();
        Directory.SetCurrentDirectory(directory);
        try
        {
            act();
        }
        finally
        {
            Directory.SetCurrentDirectory(before);
        }
    }

    private static string DirectoryOf(FileObject file) =>
        file.Record.UnixSocket.File is { Directory: { Length: > 0 } directory } ? directory : file.Uses[0].Process.Cwd;

    private static string? PathOf(FileObject file, ByteString name) => SocketNames.Path(name.Span) switch
    {
        null => null,
        ['/', ..] absolute => absolute,
        var relative => Path.Combine(DirectoryOf(file), relative),
    };

    private static void MakeWay(FileObject file, string path, bool wasDeleted)
    {
        if (FileStatus.TryOf(path, out var status) != 0) return;
        if ((status.Mode & TypeMask) != SocketType) throw new EnvironmentException($"{file}: {path} is another kind of file now", "move it out of the way");
        if (UnixDiag.All().Find(e => e.FileInode == (uint)status.Inode) is { } user) throw Taken(file, path, SocketOwners.Describe(user.Inode));
        if (wasDeleted) throw new EnvironmentException($"{file}: the socket's file {path} was deleted, and now there is another one", "move it out of the way");
        File.Delete(path);
    }

    private static EnvironmentException Taken(FileObject file, string name, string? who) =>
        new($"{file}: {name} is in use{(who is null ? "" : $" by {who}")}", "end that process, or --map-fd N=PATH puts a file in the socket's place");
}
