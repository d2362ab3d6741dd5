using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>unix(7): pairs, listeners and connections of every type, with what is in their queues.</summary>
public sealed class UnixSocketFile : IFileKind
{
    internal const string KindName = "unix socket";
    private const long Listen = 50, SetResUid = 117, SetResGid = 119; // syscall_64.tbl

    /// <inheritdoc/>
    public string Name => KindName;

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "pairs, listeners (by path or abstract name), connections and datagram sockets of every type whose peers are in the checkpoint, with what is in their queues, " +
            "message by message, options, shutdowns, and the socket's file; pairs whose peer is gone; connections that were not accepted yet, if nothing was sent on them; " +
            "datagram sockets that send to a name outside (/dev/log)",
        "the peer is outside: --stdio for standard input, output and error, else --tcp close (the connection comes back as closed by the peer); connections from outside that were not accepted yet are reset",
        "descriptors in flight (SCM_RIGHTS); queued messages with who sent them (SO_PASSCRED) or out-of-band; a connection without its listener; " +
            "several queued messages before Linux 6.7");

    /// <summary>Only <see cref="AnySocket"/> can tell.</summary>
    public bool Is(Fd fd) => false;

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        var plan = UnixPlan.Of(file, scene);
        if (plan.Way == UnixWay.Refused) return Verdict.Refused(plan.Why);
        if (plan.Way == UnixWay.Outside) return OutsideStdio.Check(file, $"its peer{PeerName(file)} is not in the checkpoint; with --tcp close the connection comes back as closed");
        if (plan.Way == UnixWay.PeerGone && file.Record.UnixSocket.PeerInode != 0)
            return Verdict.Policy("--tcp", $"its peer{PeerName(file)} is not in the checkpoint: the connection comes back as closed by the peer");
        var lost = file.Record.UnixSocket.Waiting.Count(w => !UnixPlan.All(scene).Any(f => f.Fd.Inode == w));
        return lost > 0 ? Verdict.Restarts with { Why = $"{lost} connections that it had not accepted yet are reset" } : Verdict.Restarts;
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        if (UnixPlan.Of(file, scene).Way == UnixWay.Outside) return OutsideStdio.Open(file, scene);
        var made = UnixBuilder.Sockets(scene);
        return scene.Share(KindName, () => new UnixBuilder(scene).Make())[made.IndexOf(file)];
    }

    /// <summary>Whoever connects to a listener is told who listens there: the process that last called listen(2), as the user that it is.</summary>
    public void Complete(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
        if (file.Record.UnixSocket is not { Listening: true } socket || scene.IsMapped(file)) return;
        var credentials = use.Process.Credentials;
        var (uid, gid) = (credentials.Uid[1], credentials.Gid[1]);
        if (gid != 0) process.Queue("setresgid", SetResGid, -1, gid, -1);
        if (uid != 0) process.Queue("setresuid", SetResUid, -1, uid, -1);
        process.Queue($"listen of fd {use.Fd.Number}", Listen, use.Fd.Number, socket.Backlog);
        if (uid != 0) process.Queue("setresuid", SetResUid, -1, 0, -1);
        if (gid != 0) process.Queue("setresgid", SetResGid, -1, 0, -1);
    }

    private static string PeerName(FileObject file) =>
        file.Record.UnixSocket.PeerName.IsEmpty ? "" : $" ({SocketNames.Text(file.Record.UnixSocket.PeerName.Span)})";
}
