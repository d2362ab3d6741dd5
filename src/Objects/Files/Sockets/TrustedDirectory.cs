using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Sockets;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>
/// A directory in which crstore removes and makes files, as root maybe, for one user: neither it nor what leads to it may be another user's
/// to change. What this user may change leads crstore no further than it leads the user: there it acts as that user.
/// </summary>
internal sealed class TrustedDirectory : IDisposable
{
    private const uint GroupWritable = 0x10, OthersWritable = 2, Sticky = 0x200, Link = 0xa000, TypeMask = 0xf000; // inode(7)
    private const int MostLinks = 40; // path_resolution(7)
    private readonly uint uid;
    private readonly uint gid;
    private readonly string subject;
    private bool isUsers;

    private TrustedDirectory(string subject, uint uid, uint gid) => (this.subject, this.uid, this.gid, Handle) = (subject, uid, gid, DirectoryEntries.Root());

    /// <summary>It, of O_PATH.</summary>
    public SafeFileHandle Handle { get; private set; }

    /// <summary>Goes there step by step.</summary>
    /// <param name="path">Absolute.</param>
    /// <param name="uid">Whose files are made there; root is trusted besides.</param>
    /// <param name="gid">A group that may write there, as root's may.</param>
    /// <param name="subject">What for, in errors.</param>
    /// <exception cref="EnvironmentException">It isn't there, or others may change it.</exception>
    public static TrustedDirectory Open(string path, uint uid, uint gid, string subject)
    {
        var directory = new TrustedDirectory(subject, uid, gid);
        try
        {
            directory.Go(path);
            return directory;
        }
        catch
        {
            directory.Dispose();
            throw;
        }
    }

    /// <summary>Until it is disposed of, the thread may do there what both crstore and the user may.</summary>
    public ThreadIdentity? Enter() => isUsers ? ThreadIdentity.As(uid, gid) : null;

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private void Go(string path)
    {
        var (rest, gone, links) = (new Stack<string>(Steps(path)), "/", 0);
        while (true)
        {
            var here = FileStatus.Of(Handle);
            Judge(gone, here, last: rest.Count == 0);
            if (!rest.TryPop(out var name)) return;
            var next = Path.Combine(gone, name);
            var errno = DirectoryEntries.TryHold(Handle, name, out var entry);
            if (errno != 0) throw new EnvironmentException($"{subject}: {next}: {Errno.Describe(errno)}", "make the directory anew, or --map-fd N=PATH puts a file in the socket's place");
            var status = FileStatus.Of(entry!);
            // Where others may make entries this may be one of theirs.
            if (name != "..") JudgeOwner(next, status);
            if ((status.Mode & TypeMask) == Link)
            {
                using (entry)
                {
                    if (++links > MostLinks) throw new EnvironmentException($"{subject}: {next}: {Errno.Describe(Errno.ELOOP)}");
                    var target = DirectoryEntries.Target(entry!);
                    foreach (var step in Steps(target)) rest.Push(step);
                    if (!target.StartsWith('/')) continue;
                    Handle.Dispose();
                    (Handle, gone) = (DirectoryEntries.Root(), "/");
                    continue;
                }
            }

            Handle.Dispose();
            (Handle, gone) = (entry!, next);
            if (!status.IsDirectory) throw new EnvironmentException($"{subject}: {next}: {Errno.Describe(Errno.ENOTDIR)}", "move it out of the way");
        }
    }

    // Last one first: a stack's top.
    private static IEnumerable<string> Steps(string path) => path.Split('/', StringSplitOptions.RemoveEmptyEntries).Where(s => s != ".").Reverse();

    private void Judge(string path, FileStatus status, bool last)
    {
        JudgeOwner(path, status);
        if ((status.Mode & Sticky) != 0) return; // nobody takes another's entry away
        if ((status.Mode & OthersWritable) != 0) throw Refused(path, "everybody may write to it", $"chmod o-w {path}");
        if ((status.Mode & GroupWritable) == 0 || status.Gid == 0) return;
        // Root can't act as somebody who is led no further: there, the group may exchange entries, but no directories on the way.
        if (status.Gid != gid || (uid == 0 && !last)) throw Refused(path, $"group {status.Gid} may write to it", $"chmod g-w {path}");
        isUsers |= uid != 0;
    }

    private void JudgeOwner(string path, FileStatus status)
    {
        if (status.Uid != 0 && status.Uid != uid) throw Refused(path, $"it belongs to user {status.Uid}", $"chown {uid} {path}");
        isUsers |= status.Uid != 0;
    }

    private EnvironmentException Refused(string path, string why, string help) =>
        new($"{subject}: it is not made anew by way of {path}: {why}, who could lead it astray", $"{help}; or --map-fd N=PATH puts a file in the socket's place");
}
