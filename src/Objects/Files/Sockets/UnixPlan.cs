using Crstore.Model.Format;

namespace Crstore.Objects.Files.Sockets;

/// <summary>How a unix socket is made anew.</summary>
internal enum UnixWay
{
    /// <summary>By itself: not connected, or a listener.</summary>
    Alone,

    /// <summary>With its peer, which is in the checkpoint: socketpair(2).</summary>
    Pair,

    /// <summary>With its peer, by way of the listener that accepted one of them.</summary>
    Accepted,

    /// <summary>It connects to a listener of the checkpoint, which has yet to accept it.</summary>
    Waiting,

    /// <summary>With a peer that is closed then.</summary>
    PeerGone,

    /// <summary>A datagram socket that connects to a name.</summary>
    ByName,

    /// <summary>Its peer is not in the checkpoint.</summary>
    Outside,

    /// <summary>Not at all.</summary>
    Refused,
}

/// <summary>What becomes of one unix socket of a checkpoint.</summary>
/// <param name="Way">How.</param>
/// <param name="Peer">Its peer, if that is in the checkpoint.</param>
/// <param name="Listener">The one it came by.</param>
/// <param name="Why">Of a refusal.</param>
internal readonly record struct UnixPlan(UnixWay Way, FileObject? Peer = null, FileObject? Listener = null, string Why = "")
{
    private const uint BothDirections = 3; // SHUTDOWN_MASK, linux/net.h

    /// <summary>Of a socket that was captured whole.</summary>
    internal static UnixPlan Of(FileObject file, RestartScene scene) => OfAll(scene)[file];

    /// <summary>Of all of a checkpoint, in order.</summary>
    internal static OrderedDictionary<FileObject, UnixPlan> OfAll(RestartScene scene) =>
        scene.Derive(() => new OrderedDictionary<FileObject, UnixPlan>(All(scene).Select(f => KeyValuePair.Create(f, Make(f, scene)))));

    private static UnixPlan Make(FileObject file, RestartScene scene)
    {
        var socket = file.Record.UnixSocket;
        if (Sender(socket, scene) is { } lost) return Refuse($"a message in its queue is from {lost}, which is not in the checkpoint");
        return socket.Socket.Type == SocketNames.Datagram ? Datagram(file, socket, scene) : Stream(file, socket, scene);
    }

    /// <summary>True if it is bound to a name itself, rather than having that of the listener that accepted it.</summary>
    internal bool Binds(FileObject file) =>
        !file.Record.UnixSocket.Name.IsEmpty && (Way is not (UnixWay.Accepted or UnixWay.PeerGone) || Listener?.Record.UnixSocket.Name != file.Record.UnixSocket.Name);

    /// <summary>The unix sockets of a checkpoint.</summary>
    internal static IEnumerable<FileObject> All(RestartScene scene) => scene.Files.Where(f => f.Record.UnixSocket is not null);

    private static UnixPlan Stream(FileObject file, UnixSocket socket, RestartScene scene)
    {
        if (!socket.Connected) return new UnixPlan(UnixWay.Alone);
        var peer = Find(socket.PeerInode, scene);
        var closes = (socket.Close || scene.CloseConnections) && !OutsideStdio.IsStandard(file);
        if (peer is null && socket.PeerInode != 0 && !closes) return new UnixPlan(UnixWay.Outside);
        if (peer is null && socket.PeerInode == 0 && (socket.Shutdown & BothDirections) != BothDirections)
        {
            // The other end waits in a listener's queue, and is no process's yet.
            var accepting = All(scene).FirstOrDefault(f => f.Record.UnixSocket.Waiting.Contains(file.Fd.Inode));
            if (accepting is null) return new UnixPlan(closes ? UnixWay.PeerGone : UnixWay.Outside);
            return socket.UnreadByPeer > 0
                ? Refuse("it has sent data to a connection that was not accepted yet")
                : new UnixPlan(UnixWay.Waiting, null, accepting);
        }

        // The end that was accepted has its listener's name, the other one is the client.
        var ends = peer is null ? [file] : new[] { file, peer };
        if (ends.All(e => e.Record.UnixSocket.Name.IsEmpty)) return new UnixPlan(peer is null ? UnixWay.PeerGone : UnixWay.Pair, peer);
        var listener = ends.Select(e => ListenerOf(e.Record.UnixSocket, scene)).FirstOrDefault(l => l is not null);
        if (listener is null) return Refuse("the listener that it was accepted by is not in the checkpoint");
        return new UnixPlan(peer is null ? UnixWay.PeerGone : UnixWay.Accepted, peer, listener);
    }

    private static UnixPlan Datagram(FileObject file, UnixSocket socket, RestartScene scene)
    {
        var plan = DatagramAlone(file, socket, scene);
        // Who is connected hears only its peer; what came before that can't be sent again by anybody else.
        var fits = plan.Way switch
        {
            UnixWay.Pair => socket.Queue.All(m => m.Sender == plan.Peer!.Record.UnixSocket.Name),
            UnixWay.PeerGone => socket.Queue.All(m => m.Sender.IsEmpty),
            UnixWay.Alone or UnixWay.ByName => socket.Queue.Count == 0 || !socket.Name.IsEmpty,
            _ => true,
        };
        return fits ? plan : Refuse("nobody is left to send again what is in its queue");
    }

    private static UnixPlan DatagramAlone(FileObject file, UnixSocket socket, RestartScene scene)
    {
        if (!socket.Connected) return new UnixPlan(UnixWay.Alone);
        if (socket.PeerInode == 0) return new UnixPlan(UnixWay.PeerGone);
        if (Find(socket.PeerInode, scene) is not { } peer)
            return new UnixPlan(socket.PeerName.IsEmpty ? UnixWay.Outside : UnixWay.ByName);
        if (peer != file && peer.Record.UnixSocket.PeerInode == file.Fd.Inode) return new UnixPlan(UnixWay.Pair, peer);
        return peer.Record.UnixSocket.Name.IsEmpty
            ? Refuse("it sends to a socket without a name, which is connected to another one")
            : new UnixPlan(UnixWay.ByName, peer);
    }

    private static UnixPlan Refuse(string why) => new(UnixWay.Refused, null, null, why);

    private static FileObject? Find(ulong inode, RestartScene scene) => inode == 0 ? null : All(scene).FirstOrDefault(f => f.Fd.Inode == inode);

    private static FileObject? ListenerOf(UnixSocket accepted, RestartScene scene) =>
        accepted.Name.IsEmpty ? null : All(scene).FirstOrDefault(f => f.Record.UnixSocket.Listening && f.Record.UnixSocket.Name == accepted.Name);

    private static string? Sender(UnixSocket socket, RestartScene scene)
    {
        foreach (var message in socket.Queue.Where(m => !m.Sender.IsEmpty))
            if (!All(scene).Any(f => f.Record.UnixSocket.Name == message.Sender)) return SocketNames.Text(message.Sender.Span);
        return null;
    }
}
