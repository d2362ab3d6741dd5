using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Sockets;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>netlink(7): sockets that ask for routes, addresses and sockets, or are told of devices. With nothing in their queues.</summary>
public sealed class NetlinkSocketFile : IFileKind
{
    internal const string KindName = "netlink socket";
    private const int Route = 0, SockDiag = 4, Events = 15;    // NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_KOBJECT_UEVENT
    private const int AddMembership = 1, ListMemberships = 9;  // netlink(7)
    private const int MostGroups = 1024 / 8;

    /// <inheritdoc/>
    public string Name => KindName;

    /// <inheritdoc/>
    public Coverage Coverage => new("of routes and addresses, sockets and device events, with groups and options", "", "with messages in the queue; other protocols");

    /// <summary>Only <see cref="AnySocket"/> can tell.</summary>
    public bool Is(Fd fd) => false;

    internal static void Dump(FileObject file, SafeFileHandle socket, SocketBase state)
    {
        var record = new NetlinkSocket { Socket = SocketOptions.Read(socket, state) };
        file.Record.NetlinkSocket = record;
        if (record.Socket.Protocol is not (Route or SockDiag or Events)) throw new TargetException($"a netlink socket of protocol {record.Socket.Protocol}");
        record.Port = BinaryPrimitives.ReadUInt32LittleEndian(SocketCalls.Name(socket).AsSpan(4));
        Span<byte> groups = stackalloc byte[MostGroups];
        if (SocketCalls.TryGetOption(socket, SocketOptions.NetlinkLevel, ListMemberships, groups) is > 0 and var length)
            record.Groups = ByteString.CopyFrom(groups[..Math.Min(length, groups.Length)]);
        // Not by MSG_PEEK: that makes the kernel go on with an answer in parts. SO_MEMINFO: the memory of what waits to be read.
        Span<byte> memory = stackalloc byte[4];
        SocketCalls.TryGetOption(socket, SocketOptions.SocketLevel, SocketOptions.MemoryInfo, memory);
        if (BitConverter.ToUInt32(memory) > 0) throw new TargetException("messages of the kernel wait to be read from it");
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => Verdict.Restarts;

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var state = file.Record.NetlinkSocket;
        SafeFileHandle socket;
        using (ThreadIdentity.As(state.Socket.Uid, state.Socket.Gid)) socket = SocketCalls.Create(state.Socket.Domain, state.Socket.Type, state.Socket.Protocol);
        try
        {
            if (state.Port != 0)
            {
                Span<byte> address = stackalloc byte[12]; // struct sockaddr_nl: family, pad, port, groups
                address.Clear();
                BinaryPrimitives.WriteUInt16LittleEndian(address, SocketNames.Netlink);
                BinaryPrimitives.WriteUInt32LittleEndian(address[4..], state.Port);
                Check(SocketCalls.TryBind(socket, address), $"bind to netlink port {state.Port}");
            }

            for (var group = 0; group < state.Groups.Length * 8; group++)
                if ((state.Groups[group / 8] & (1 << (group % 8))) != 0)
                    Check(SocketCalls.TrySetOption(socket, SocketOptions.NetlinkLevel, AddMembership, group + 1), $"netlink group {group + 1}");
            SocketOptions.Apply(socket, state.Socket, file, early: true);
            SocketOptions.Apply(socket, state.Socket, file);
            Descriptors.SetFlags(socket, file.Info.Flags & Descriptors.SettableFlags);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        void Check(int errno, string what)
        {
            if (errno != 0) throw new EnvironmentException($"{file}: {what}: {Errno.Describe(errno)}", "--map-fd N=PATH puts a file in the socket's place");
        }
    }
}
