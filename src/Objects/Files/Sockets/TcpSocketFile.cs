using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Linux.Sockets;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>tcp(7): listeners and unconnected sockets as they were; connections by policy.</summary>
public sealed class TcpSocketFile : IFileKind
{
    internal const string KindName = "TCP socket";
    private const int Ulp = 31; // TCP_ULP, linux/tcp.h

    /// <inheritdoc/>
    public string Name => KindName;

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "listeners and unconnected sockets with address, backlog and options; connections that were over already; those that a listener had not accepted yet are reset",
        "--tcp at the capture: close (connections come back as reset), wait (for a moment without any); restart --tcp close",
        "established connections; sockets with an upper layer protocol or an eBPF filter");

    /// <summary>Only <see cref="AnySocket"/> can tell.</summary>
    public bool Is(Fd fd) => false;

    internal static void Dump(FileObject file, SafeFileHandle socket, SocketBase identity)
    {
        var info = TcpInfo.Of(socket) ?? new TcpInfo(SocketCalls.GetOption(socket, SocketOptions.SocketLevel, SocketOptions.AcceptConnections) != 0 ? TcpInfo.Listening : TcpInfo.Closed, 0, 0);
        var state = info.State;
        var poll = SocketCalls.Poll(socket);
        // One that never was connected has not been told that nothing more will come.
        var ended = state == TcpInfo.Closed && (poll & (PollEvents.PeerShutdown | PollEvents.Error)) != 0;
        var connection = ended || state is not (TcpInfo.Closed or TcpInfo.Listening);
        var record = file.Record.InetSocket = InetSockets.Read(socket, identity, options: !connection);
        record.State = (uint)state;
        record.Ended = ended;
        record.Failed = poll.HasFlag(PollEvents.Error);
        if (connection) record.UnreadBytes = (ulong)SocketCalls.Unread(socket);
        if (state != TcpInfo.Listening) return;
        record.Waiting = info.Waiting;
        record.Backlog = info.Backlog;
        if (SocketCalls.TryGetOption(socket, SocketOptions.Tcp, Ulp, stackalloc byte[16]) is > 0) throw new TargetException("it has an upper layer protocol (TCP_ULP)");
    }

    /// <summary>True for a connection in any state of its life, over or not.</summary>
    internal static bool IsConnection(InetSocket state) => state.Ended || state.State is not (TcpInfo.Closed or TcpInfo.Listening);

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        var state = file.Record.InetSocket;
        if (state.Ended && state.UnreadBytes == 0) return Verdict.Restarts;
        if (IsConnection(state))
        {
            return state.Close || scene.CloseConnections
                ? Verdict.Policy("--tcp", $"the connection from {InetSockets.Connection(state)} comes back as reset")
                : Verdict.Refused($"the connection from {InetSockets.Connection(state)} can't be taken up again; with --tcp close it comes back as reset");
        }

        return state.Waiting > 0 ? Verdict.Restarts with { Why = $"{state.Waiting} connections that it had not accepted yet are reset" } : Verdict.Restarts;
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var state = file.Record.InetSocket;
        if (IsConnection(state)) return InetSockets.Finish(file, state, Reset(file, state));
        var socket = InetSockets.Make(file, state, "tcp");
        try
        {
            if (state.State == TcpInfo.Listening) InetSockets.Check(file, state, "tcp", "listen", SocketCalls.TryListen(socket, (int)state.Backlog));
            return InetSockets.Finish(file, state, socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>
    /// A connection that the other side has reset: the next read or write gives ECONNRESET, as it would have if that had happened on the wire.
    /// One that was over already gives the end of the stream, or its error if nobody had been told of that.
    /// </summary>
    private static SafeFileHandle Reset(FileObject file, InetSocket state)
    {
        const int error = 4; // SO_ERROR, socket(7): reading it takes it away
        var (domain, loopback) = (state.Socket.Domain, InetSockets.Loopback());
        if (domain == SocketNames.Internet6) loopback = Mapped(loopback);
        using var listener = SocketCalls.Create(domain, SocketNames.Stream, 0);
        Check(SocketCalls.TryBind(listener, loopback), "bind");
        Check(SocketCalls.TryListen(listener, 1), "listen");
        SafeFileHandle socket;
        using (ThreadIdentity.As(state.Socket.Uid, state.Socket.Gid)) socket = SocketCalls.Create(domain, SocketNames.Stream, 0);
        Check(SocketCalls.TryConnect(socket, SocketCalls.Name(listener)), "connect");
        using (var other = SocketCalls.Accept(listener))
        {
            // struct linger: on, for no time: close(2) sends a reset.
            Check(SocketCalls.TrySetOption(other, SocketOptions.SocketLevel, SocketOptions.Linger, [1, 0, 0, 0, 0, 0, 0, 0]), "SO_LINGER");
        }

        if (state.Ended && !state.Failed) SocketCalls.GetOption(socket, SocketOptions.SocketLevel, error);
        return socket;

        void Check(int errno, string call)
        {
            if (errno != 0) throw new EnvironmentException($"{file}: {call} over loopback, for a connection to be reset: {Errno.Describe(errno)}");
        }
    }

    // ::ffff:127.0.0.1, struct sockaddr_in6: works where IPv6 has no loopback, too.
    private static byte[] Mapped(byte[] address)
    {
        var mapped = new byte[28];
        BinaryPrimitives.WriteUInt16LittleEndian(mapped, SocketNames.Internet6);
        mapped[18] = mapped[19] = 0xff;
        address.AsSpan(4, 4).CopyTo(mapped.AsSpan(20));
        return mapped;
    }
}
