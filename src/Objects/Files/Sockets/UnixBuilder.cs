using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Sockets;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>
/// Makes all unix sockets of a checkpoint, as they depend on each other: first those that stand by themselves, with names and
/// listeners; then connections; then what is in queues; last what would be in the way of that (who is connected to whom by name,
/// shutdowns, buffer sizes, peers that are gone).
/// </summary>
internal sealed class UnixBuilder(RestartScene scene)
{
    private readonly List<FileObject> files = Sockets(scene);
    private readonly Dictionary<FileObject, SafeFileHandle> made = [];
    private readonly Dictionary<FileObject, SafeFileHandle> closing = []; // the other end of those whose peer is gone
    private readonly OrderedDictionary<FileObject, UnixPlan> plans = UnixPlan.OfAll(scene);

    /// <summary>Those that are made; in this order.</summary>
    internal static List<FileObject> Sockets(RestartScene scene) => [.. UnixPlan.OfAll(scene).Where(p => p.Value.Way != UnixWay.Outside).Select(p => p.Key)];

    /// <summary>Makes all.</summary>
    internal IReadOnlyList<SafeFileHandle> Make()
    {
        try
        {
            foreach (var file in files.Where(f => plans[f].Way is UnixWay.Alone or UnixWay.ByName)) Create(file);
            foreach (var file in files.Where(f => plans[f].Way is UnixWay.Pair or UnixWay.PeerGone or UnixWay.Accepted)) Connect(file);
            foreach (var file in files.Where(f => f.Record.UnixSocket.Listening)) ConnectWaiting(file);
            foreach (var file in files) FillQueue(file);
            foreach (var file in files.Where(f => plans[f].Way == UnixWay.ByName)) ConnectByName(file);
            foreach (var file in files) Finish(file);
            return [.. files.Select(f => made[f])];
        }
        catch
        {
            foreach (var socket in made.Values) socket.Dispose();
            throw;
        }
        finally
        {
            foreach (var socket in closing.Values) socket.Dispose();
        }
    }

    private static UnixSocket State(FileObject file) => file.Record.UnixSocket;

    private static SafeFileHandle New(FileObject file)
    {
        var socket = State(file).Socket;
        using (ThreadIdentity.As(socket.Uid, socket.Gid)) return SocketCalls.Create(socket.Domain, socket.Type, socket.Protocol);
    }

    private void Create(FileObject file)
    {
        var socket = New(file);
        made.Add(file, socket);
        Bind(file);
        if (!State(file).Listening || scene.IsMapped(file)) return;
        Check(file, "listen", SocketCalls.TryListen(socket, (int)State(file).Backlog));
    }

    private void Bind(FileObject file)
    {
        if (plans[file].Binds(file) && !scene.IsMapped(file)) UnixName.Bind(file, made[file], scene);
    }

    // The listener can be reached from now on: a stranger who came first must not become the peer of an established connection.
    private static SafeFileHandle AcceptOwn(SafeFileHandle listener)
    {
        while (true)
        {
            var server = SocketCalls.Accept(listener);
            if (SocketCalls.PeerPid(server) == Environment.ProcessId) return server;
            server.Dispose(); // told to come again, as by any server that restarts
        }
    }

    private void Connect(FileObject file)
    {
        if (made.ContainsKey(file)) return;
        var (_, peer, listener, _) = plans[file];
        SafeFileHandle mine, other;
        if (listener is null)
        {
            var socket = State(file).Socket;
            using (ThreadIdentity.As(socket.Uid, socket.Gid)) (mine, other) = SocketCalls.Pair(socket.Domain, socket.Type, socket.Protocol);
        }
        else
        {
            var isServer = State(file).Name == State(listener).Name;
            var client = New(isServer ? peer ?? file : file);
            if (!isServer) Keep(file, client);
            else if (peer is not null) Keep(peer, client);
            ConnectTo(isServer ? peer ?? file : file, client, State(listener).Name, listener);
            var owner = State(isServer ? file : peer ?? file).Socket;
            SafeFileHandle server;
            using (ThreadIdentity.As(owner.Uid, owner.Gid)) server = AcceptOwn(made[listener]);
            (mine, other) = isServer ? (server, client) : (client, server);
        }

        made.TryAdd(file, mine);
        if (peer is null) closing.Add(file, other);
        else made.TryAdd(peer, other);
        if (listener is not null) return;
        Bind(file);
        if (peer is not null) Bind(peer);

        // A client that has a name must have it before it connects.
        void Keep(FileObject end, SafeFileHandle socket)
        {
            made.Add(end, socket);
            Bind(end);
        }
    }

    private void ConnectWaiting(FileObject listener)
    {
        foreach (var inode in State(listener).Waiting)
        {
            if (files.Find(f => f.Fd.Inode == inode && plans[f].Way == UnixWay.Waiting) is not { } client) continue;
            made.Add(client, New(client));
            Bind(client);
            ConnectTo(client, made[client], State(listener).Name, listener);
        }
    }

    private static void ConnectTo(FileObject client, SafeFileHandle socket, ByteString name, FileObject? listener)
    {
        var owner = State(client).Socket;
        using (ThreadIdentity.As(owner.Uid, owner.Gid))
            UnixName.In(listener ?? client, name, () => Check(client, $"connect to {SocketNames.Text(name.Span)}", SocketCalls.TryConnect(socket, name.Span)));
    }

    private void ConnectByName(FileObject file)
    {
        if (scene.IsMapped(file)) return;
        var name = State(file).PeerName;
        ConnectTo(file, made[file], name, plans[file].Peer);
    }

    private void FillQueue(FileObject file)
    {
        foreach (var message in State(file).Queue)
        {
            var (from, to) = SenderOf(file, message, out var temporary);
            using (temporary) Send(file, from, message.Content, to.Span);
        }
    }

    // The other end; for datagrams whoever has the sender's name, or somebody without a name.
    private (SafeFileHandle From, ByteString To) SenderOf(FileObject file, SocketMessage message, out SafeFileHandle? temporary)
    {
        temporary = null;
        if (closing.TryGetValue(file, out var gone)) return (gone, ByteString.Empty);
        if (plans[file].Way is UnixWay.Pair or UnixWay.Accepted) return (made[plans[file].Peer!], ByteString.Empty);
        var sender = message.Sender.IsEmpty ? null : files.Find(f => State(f).Name == message.Sender);
        return (sender is not null ? made[sender] : temporary = New(file), State(file).Name);
    }

    private static void Send(FileObject file, SafeFileHandle from, ByteString content, ReadOnlySpan<byte> to)
    {
        // Whatever the sender's buffer was or will be, this was in it.
        const int level = SocketOptions.SocketLevel;
        var (size, locked) = (SocketCalls.GetOption(from, level, SocketOptions.SendBuffer), new byte[sizeof(int)]);
        var canLock = SocketCalls.TryGetOption(from, level, SocketOptions.BufferLock, locked) > 0;
        SocketCalls.TrySetOption(from, level, SocketOptions.SendBufferForce, Math.Max(size, 4 * State(file).Queue.Sum(m => m.Content.Length + 1024)));
        SendAll(file, from, content, to);
        SocketCalls.TrySetOption(from, level, SocketOptions.SendBufferForce, size / 2); // the kernel doubles it
        if (canLock) SocketCalls.TrySetOption(from, level, SocketOptions.BufferLock, locked);
    }

    private static void SendAll(FileObject file, SafeFileHandle from, ByteString content, ReadOnlySpan<byte> to)
    {
        var stream = State(file).Socket.Type == SocketNames.Stream;
        for (var rest = content.Span; ;)
        {
            var sent = SocketCalls.TrySend(from, rest, to);
            if (sent < 0) throw new EnvironmentException($"{file}: what was in its queue can't be put back: {Errno.Describe(-sent)}");
            rest = rest[sent..];
            if (!stream || rest.IsEmpty) return;
        }
    }

    private void Finish(FileObject file)
    {
        var (state, socket) = (State(file), made[file]);
        if (closing.Remove(file, out var other))
        {
            // A peer that goes without having read all leaves ECONNRESET behind.
            if (state.Reset && state.Socket.Type != SocketNames.Datagram) SocketCalls.TrySend(socket, [0]);
            other.Dispose();
        }
        else if (state.Shutdown != 0)
        {
            // RCV_SHUTDOWN 1, SEND_SHUTDOWN 2, linux/net.h, are SHUT_RD and SHUT_WR plus one.
            Check(file, "shutdown", SocketCalls.TryShutdown(socket, (int)state.Shutdown - 1));
        }

        SocketOptions.Apply(socket, state.Socket, file, early: true);
        SocketOptions.Apply(socket, state.Socket, file);
        Descriptors.SetFlags(socket, file.Info.Flags & Descriptors.SettableFlags);
    }

    private static void Check(FileObject file, string what, int errno)
    {
        if (errno != 0) throw new EnvironmentException($"{file}: {what}: {Errno.Describe(errno)}", "--map-fd N=PATH puts a file in its place");
    }
}
