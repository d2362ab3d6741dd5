using Crstore.Linux.Sockets;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>udp(7): bound and connected again. What was not read yet is lost, as datagrams may be.</summary>
public sealed class UdpSocketFile : IFileKind
{
    internal const string KindName = "UDP socket";

    /// <inheritdoc/>
    public string Name => KindName;

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "with address, peer, options and multicast groups; datagrams that were not read yet are lost", "", "memberships for certain senders; eBPF filters");

    /// <summary>Only <see cref="AnySocket"/> can tell.</summary>
    public bool Is(Fd fd) => false;

    internal static void Dump(FileObject file, SafeFileHandle socket, SocketBase state)
    {
        var record = file.Record.InetSocket = InetSockets.Read(socket, state, options: true);
        // SO_MEMINFO, socket(7): the first of its numbers is the memory of what waits to be read.
        Span<byte> memory = stackalloc byte[4];
        if (SocketCalls.TryGetOption(socket, SocketOptions.SocketLevel, SocketOptions.MemoryInfo, memory) == memory.Length) record.UnreadBytes = BitConverter.ToUInt32(memory);
        foreach (var (index, group) in Multicast.Of(socket, also6: record.Socket.Domain == SocketNames.Internet6))
            record.Memberships.Add(new MulticastMembership { Interface = index, Group = UnsafeByteOperations.UnsafeWrap(group) });
        record.Failed = SocketCalls.Poll(socket).HasFlag(PollEvents.Error);
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => file.Record.InetSocket.UnreadBytes > 0
        ? Verdict.Restarts with { Why = "datagrams that it had not read are lost" }
        : Verdict.Restarts;

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var state = file.Record.InetSocket;
        var socket = InetSockets.Make(file, state, "udp");
        try
        {
            foreach (var membership in state.Memberships)
            {
                if (Multicast.TryJoin(socket, new MulticastGroup(membership.Interface, membership.Group.ToByteArray())) is var refused and not 0)
                    throw new EnvironmentException($"{file}: joining {SocketNames.Text(membership.Group.Span)} on interface {membership.Interface}: {Linux.Errno.Describe(refused)}");
            }

            if (!state.Peer.IsEmpty && SocketCalls.TryConnect(socket, state.Peer.Span) is var errno and not 0)
                throw new EnvironmentException($"{file}: connect to {SocketNames.Text(state.Peer.Span)}: {Linux.Errno.Describe(errno)}");
            return InetSockets.Finish(file, state, socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
