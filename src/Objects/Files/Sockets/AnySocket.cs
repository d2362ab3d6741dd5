using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>Any socket: which family it belongs to is asked of the kernel, and becomes the kind of the saved file.</summary>
public sealed class AnySocket : IFileKind
{
    /// <inheritdoc/>
    public string Name => "socket";

    /// <inheritdoc/>
    public Coverage Coverage => new("", "", "raw, packet, vsock and other families");

    /// <inheritdoc/>
    public bool Is(Fd fd) => fd.Link.StartsWith("socket:[", StringComparison.Ordinal);

    /// <inheritdoc/>
    public void Dump(FileObject file, Func<SafeFileHandle> open)
    {
        using var socket = open();
        var state = SocketOptions.Identify(socket);
        var (domain, type, protocol) = (state.Domain, state.Type, state.Protocol);
        switch (domain, type, protocol)
        {
            case (SocketNames.Unix, _, _):
                file.Record.Kind = UnixSocketFile.KindName;
                UnixSocketDump.Run(file, socket, state);
                break;
            case (SocketNames.Internet or SocketNames.Internet6, SocketNames.Stream, SocketNames.IpTcp or SocketNames.IpMultipathTcp):
                file.Record.Kind = TcpSocketFile.KindName;
                TcpSocketFile.Dump(file, socket, state);
                break;
            case (SocketNames.Internet or SocketNames.Internet6, SocketNames.Datagram, SocketNames.IpUdp):
                file.Record.Kind = UdpSocketFile.KindName;
                UdpSocketFile.Dump(file, socket, state);
                break;
            case (SocketNames.Netlink, _, _):
                file.Record.Kind = NetlinkSocketFile.KindName;
                NetlinkSocketFile.Dump(file, socket, state);
                break;
            case (SocketNames.Internet or SocketNames.Internet6, SocketNames.Raw or SocketNames.Datagram, _):
                throw new TargetException("a raw or ping socket");
            case (17, _, _): // AF_PACKET
                throw new TargetException("a packet socket");
            default:
                throw new TargetException($"a socket of family {domain}, type {type}, protocol {protocol}");
        }
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => OutsideStdio.Check(file, "what kind of socket it is, is not known");

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene) => OutsideStdio.Open(file, scene);
}
