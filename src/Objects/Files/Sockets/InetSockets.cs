using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Sockets;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>What TCP and UDP sockets have in common.</summary>
internal static class InetSockets
{
    /// <summary>What it is, and its addresses.</summary>
    internal static InetSocket Read(SafeFileHandle socket, SocketBase state, bool options) => new()
    {
        Socket = options ? SocketOptions.Read(socket, state) : state,
        Name = UnsafeByteOperations.UnsafeWrap(SocketCalls.Name(socket)),
        Peer = UnsafeByteOperations.UnsafeWrap(SocketCalls.PeerName(socket) ?? []),
    };

    /// <summary>A new one of the same user's, with the options that count for its address, bound to that.</summary>
    /// <exception cref="EnvironmentException">The address is taken, or not of this machine any more.</exception>
    internal static SafeFileHandle Make(FileObject file, InetSocket state, string protocol)
    {
        SafeFileHandle socket;
        using (ThreadIdentity.As(state.Socket.Uid, state.Socket.Gid)) socket = SocketCalls.Create(state.Socket.Domain, state.Socket.Type, state.Socket.Protocol);
        try
        {
            SocketOptions.Apply(socket, state.Socket, file, early: true);
            if (IsBound(state)) Check(file, state, protocol, "bind", SocketCalls.TryBind(socket, state.Name.Span));
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Options and flags: the last thing.</summary>
    internal static SafeFileHandle Finish(FileObject file, InetSocket state, SafeFileHandle socket)
    {
        SocketOptions.Apply(socket, state.Socket, file);
        Descriptors.SetFlags(socket, file.Info.Flags & Descriptors.SettableFlags);
        return socket;
    }

    /// <summary>An address that can't be had: says why, and who has it.</summary>
    internal static void Check(FileObject file, InetSocket state, string protocol, string call, int errno)
    {
        if (errno == 0) return;
        var name = SocketNames.Text(state.Name.Span);
        throw errno switch
        {
            Errno.EADDRINUSE => new EnvironmentException(
                $"{file}: {protocol} {name} is in use{(SocketOwners.DescribePort(protocol, SocketNames.Port(state.Name.Span)) is { } who ? $" by {who}" : "")}",
                "end that process, or --map-fd N=PATH puts a file in the socket's place"),
            Errno.EADDRNOTAVAIL => new EnvironmentException($"{file}: {name} is not an address of this machine", "add it with ip-address(8)"),
            _ => new EnvironmentException($"{file}: {call} {protocol} {name}: {Errno.Describe(errno)}"),
        };
    }

    /// <summary>True if it has a port, or an address without one.</summary>
    private static bool IsBound(InetSocket state) => state.Name.Span[SocketNames.FamilySize..].ContainsAnyExcept((byte)0);

    /// <summary>For messages: both addresses.</summary>
    internal static string Connection(InetSocket state) => $"{SocketNames.Text(state.Name.Span)} to {SocketNames.Text(state.Peer.Span)}";

    /// <summary>127.0.0.1 with any port, struct sockaddr_in.</summary>
    internal static byte[] Loopback()
    {
        var address = new byte[16];
        BinaryPrimitives.WriteUInt16LittleEndian(address, SocketNames.Internet);
        BinaryPrimitives.WriteUInt32BigEndian(address.AsSpan(4), 0x7f000001);
        return address;
    }
}
