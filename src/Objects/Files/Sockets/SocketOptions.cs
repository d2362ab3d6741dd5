using System.Runtime.InteropServices;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Sockets;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>Options of sockets that can be asked for and set again. Those that a new socket has anyway are neither saved nor set.</summary>
internal static class SocketOptions
{
    internal const int SocketLevel = 1, Tcp = 6, Udp = 17, Ip = 0, Ipv6 = 41, NetlinkLevel = 270; // SOL_SOCKET, IPPROTO_, SOL_NETLINK
    internal const int BufferLock = 72, SendBufferForce = 32, PassPidFd = 76;
    internal const int SendBuffer = 7, ReceiveBuffer = 8, Linger = 13, PassCredentials = 16, Filter = 26, AcceptConnections = 30, Domain = 39, Type = 3,
        Protocol = 38, PeekOffset = 42, MemoryInfo = 55;

    private const int ReceiveBufferForce = 33;
    private const int Longest = 16; // IFNAMSIZ, TCP_CA_NAME_MAX, sizeof(struct timeval)

    private sealed record Known(int Level, int Number, string Name, int Size = sizeof(int), bool IsText = false);

    // What bind(2) looks at, by family and type. socket(7), ip(7), ipv6(7).
    private static readonly Known[] Address =
    [
        new(SocketLevel, 2, "SO_REUSEADDR"), new(SocketLevel, 15, "SO_REUSEPORT"), new(SocketLevel, 25, "SO_BINDTODEVICE", Longest, IsText: true),
        new(Ip, 15, "IP_FREEBIND"), new(Ip, 19, "IP_TRANSPARENT"), new(Ip, 24, "IP_BIND_ADDRESS_NO_PORT"), new(Ip, 51, "IP_LOCAL_PORT_RANGE"),
    ];

    private static readonly Known[] Address6 = [.. Address, new(Ipv6, 26, "IPV6_V6ONLY")];

    // IP_TOS sets SO_PRIORITY, which comes behind it.
    private static readonly Known[] Internet =
    [
        new(Ip, 1, "IP_TOS"), new(Ip, 2, "IP_TTL"), new(Ip, 10, "IP_MTU_DISCOVER"), new(Ip, 11, "IP_RECVERR"), new(Ip, 21, "IP_MINTTL"),
        new(SocketLevel, 5, "SO_DONTROUTE"), new(SocketLevel, 36, "SO_MARK"), new(SocketLevel, 46, "SO_BUSY_POLL"), new(SocketLevel, 47, "SO_MAX_PACING_RATE", 8),
        new(SocketLevel, 60, "SO_ZEROCOPY"),
    ];

    private static readonly Known[] Internet6 =
    [
        new(Ipv6, 16, "IPV6_UNICAST_HOPS"), new(Ipv6, 23, "IPV6_MTU_DISCOVER"), new(Ipv6, 25, "IPV6_RECVERR"), new(Ipv6, 67, "IPV6_TCLASS"),
        new(Ipv6, 70, "IPV6_AUTOFLOWLABEL"), new(Ipv6, 72, "IPV6_ADDR_PREFERENCES"), new(Ipv6, 73, "IPV6_MINHOPCOUNT"),
    ];

    // tcp(7), linux/tcp.h.
    private static readonly Known[] Stream =
    [
        new(Tcp, 1, "TCP_NODELAY"), new(Tcp, 2, "TCP_MAXSEG"), new(Tcp, 3, "TCP_CORK"), new(Tcp, 4, "TCP_KEEPIDLE"), new(Tcp, 5, "TCP_KEEPINTVL"),
        new(Tcp, 6, "TCP_KEEPCNT"), new(Tcp, 7, "TCP_SYNCNT"), new(Tcp, 8, "TCP_LINGER2"), new(Tcp, 9, "TCP_DEFER_ACCEPT"), new(Tcp, 10, "TCP_WINDOW_CLAMP"),
        new(Tcp, 13, "TCP_CONGESTION", Longest, IsText: true), new(Tcp, 16, "TCP_THIN_LINEAR_TIMEOUTS"), new(Tcp, 18, "TCP_USER_TIMEOUT"), new(Tcp, 23, "TCP_FASTOPEN"),
        new(Tcp, 25, "TCP_NOTSENT_LOWAT"), new(Tcp, 27, "TCP_SAVE_SYN"), new(Tcp, 30, "TCP_FASTOPEN_CONNECT"), new(Tcp, 34, "TCP_FASTOPEN_NO_COOKIE"),
        new(Tcp, 36, "TCP_INQ"), new(Tcp, 37, "TCP_TX_DELAY"), new(SocketLevel, 9, "SO_KEEPALIVE"), new(SocketLevel, 10, "SO_OOBINLINE"), new(SocketLevel, 74, "SO_TXREHASH"),
    ];

    // udp(7), linux/udp.h.
    private static readonly Known[] Datagrams =
    [
        new(Udp, 1, "UDP_CORK"), new(Udp, 100, "UDP_ENCAP"), new(Udp, 101, "UDP_NO_CHECK6_TX"), new(Udp, 102, "UDP_NO_CHECK6_RX"), new(Udp, 103, "UDP_SEGMENT"),
        new(Udp, 104, "UDP_GRO"), new(Ip, 8, "IP_PKTINFO"), new(Ip, 12, "IP_RECVTTL"), new(Ip, 13, "IP_RECVTOS"), new(Ip, 20, "IP_RECVORIGDSTADDR"),
        new(Ip, 25, "IP_RECVFRAGSIZE"), new(Ip, 32, "IP_MULTICAST_IF"), new(Ip, 33, "IP_MULTICAST_TTL"), new(Ip, 34, "IP_MULTICAST_LOOP"),
        new(Ip, 49, "IP_MULTICAST_ALL"), new(Ip, 50, "IP_UNICAST_IF"), new(SocketLevel, 6, "SO_BROADCAST"), new(SocketLevel, 11, "SO_NO_CHECK"),
        new(SocketLevel, 40, "SO_RXQ_OVFL"), new(SocketLevel, PeekOffset, "SO_PEEK_OFF"), new(SocketLevel, 45, "SO_SELECT_ERR_QUEUE"),
        new(SocketLevel, 61, "SO_TXTIME", 8), new(SocketLevel, 69, "SO_PREFER_BUSY_POLL"),
    ];

    private static readonly Known[] Datagrams6 =
    [
        new(Ipv6, 17, "IPV6_MULTICAST_IF"), new(Ipv6, 18, "IPV6_MULTICAST_HOPS"), new(Ipv6, 19, "IPV6_MULTICAST_LOOP"), new(Ipv6, 29, "IPV6_MULTICAST_ALL"),
        new(Ipv6, 49, "IPV6_RECVPKTINFO"), new(Ipv6, 51, "IPV6_RECVHOPLIMIT"), new(Ipv6, 62, "IPV6_DONTFRAG"), new(Ipv6, 66, "IPV6_RECVTCLASS"),
        new(Ipv6, 74, "IPV6_RECVORIGDSTADDR"), new(Ipv6, 76, "IPV6_UNICAST_IF"),
    ];

    // unix(7).
    private static readonly Known[] Local =
    [
        new(SocketLevel, PassCredentials, "SO_PASSCRED"), new(SocketLevel, 34, "SO_PASSSEC"), new(SocketLevel, PeekOffset, "SO_PEEK_OFF"),
        new(SocketLevel, PassPidFd, "SO_PASSPIDFD"), new(SocketLevel, 83, "SO_PASSRIGHTS"),
    ];

    // netlink(7).
    private static readonly Known[] Netlink =
    [
        new(NetlinkLevel, 3, "NETLINK_PKTINFO"), new(NetlinkLevel, 4, "NETLINK_BROADCAST_ERROR"), new(NetlinkLevel, 5, "NETLINK_NO_ENOBUFS"),
        new(NetlinkLevel, 8, "NETLINK_LISTEN_ALL_NSID"), new(NetlinkLevel, 10, "NETLINK_CAP_ACK"), new(NetlinkLevel, 11, "NETLINK_EXT_ACK"),
        new(NetlinkLevel, 12, "NETLINK_GET_STRICT_CHK"), new(SocketLevel, PassCredentials, "SO_PASSCRED"), new(SocketLevel, 40, "SO_RXQ_OVFL"),
    ];

    // socket(7): of all families. The lock on buffer sizes is set by setting these.
    private static readonly Known[] General =
    [
        new(SocketLevel, SendBuffer, "SO_SNDBUF"), new(SocketLevel, ReceiveBuffer, "SO_RCVBUF"), new(SocketLevel, BufferLock, "SO_BUF_LOCK"),
        new(SocketLevel, 12, "SO_PRIORITY"), new(SocketLevel, Linger, "SO_LINGER", 8), new(SocketLevel, 18, "SO_RCVLOWAT"), new(SocketLevel, 20, "SO_RCVTIMEO", 16),
        new(SocketLevel, 21, "SO_SNDTIMEO", 16), new(SocketLevel, 29, "SO_TIMESTAMP"), new(SocketLevel, 35, "SO_TIMESTAMPNS"), new(SocketLevel, 37, "SO_TIMESTAMPING"),
    ];

    private static readonly List<Kind> Kinds = [];

    /// <summary>What a socket is, and who made it.</summary>
    internal static SocketBase Identify(SafeFileHandle socket)
    {
        var status = FileStatus.Of(socket);
        return new SocketBase
        {
            Domain = SocketCalls.GetOption(socket, SocketLevel, Domain),
            Type = SocketCalls.GetOption(socket, SocketLevel, Type),
            Protocol = SocketCalls.GetOption(socket, SocketLevel, Protocol),
            Uid = status.Uid,
            Gid = status.Gid,
        };
    }

    /// <summary>Reads its options.</summary>
    internal static SocketBase Read(SafeFileHandle socket, SocketBase found)
    {
        var kind = Kind.Of(found);
        Span<byte> value = stackalloc byte[Longest];
        for (var i = 0; i < kind.Known.Length; i++)
        {
            var known = kind.Known[i];
            if (kind.New[i] is not { } usual) continue; // unknown to this kernel
            value.Clear();
            var length = SocketCalls.TryGetOption(socket, known.Level, known.Number, value[..known.Size]);
            if (length < 0 || value[..length].SequenceEqual(usual)) continue;
            found.Options.Add(new SocketOption { Level = known.Level, Name = known.Number, Value = ByteString.CopyFrom(value[..length]) });
        }

        ReadFilter(socket, found);
        return found;
    }

    /// <summary>Gives a socket the options that it had.</summary>
    /// <param name="socket">Made anew.</param>
    /// <param name="then">As it was.</param>
    /// <param name="who">For the error.</param>
    /// <param name="early">Those that count when it gets its address; else all others.</param>
    internal static void Apply(SafeFileHandle socket, SocketBase then, FileObject who, bool early = false)
    {
        Span<byte> now = stackalloc byte[Longest];
        foreach (var known in Kind.TableOf(then).Where(k => Array.Exists(Address6, a => a == k) == early))
        {
            if (then.Options.FirstOrDefault(o => o.Level == known.Level && o.Name == known.Number)?.Value is not { } value) continue;
            var length = SocketCalls.TryGetOption(socket, known.Level, known.Number, now[..known.Size]);
            if (length >= 0 && now[..length].SequenceEqual(value.Span)) continue;
            if (Set(socket, known, value.Span) is var errno and not 0)
                throw new EnvironmentException($"{who}: setsockopt({known.Name}): {Errno.Describe(errno)}");
        }

        if (!early && !then.Filter.IsEmpty) SetFilter(socket, then.Filter.Span, who);
    }

    private static int Set(SafeFileHandle socket, Known known, ReadOnlySpan<byte> value)
    {
        if (known.Level == SocketLevel && known.Number is SendBuffer or ReceiveBuffer)
        {
            // The kernel doubles what it is given, for its own needs. Beyond the limit of net.core only root may.
            var half = BitConverter.GetBytes(MemoryMarshal.Read<int>(value) / 2);
            var errno = SocketCalls.TrySetOption(socket, SocketLevel, known.Number == SendBuffer ? SendBufferForce : ReceiveBufferForce, half);
            return errno == 0 ? 0 : SocketCalls.TrySetOption(socket, SocketLevel, known.Number, half);
        }

        if (known.IsText) value = value[..(value.IndexOf((byte)0) is >= 0 and var end ? end : value.Length)];
        return SocketCalls.TrySetOption(socket, known.Level, known.Number, value);
    }

    private static void ReadFilter(SafeFileHandle socket, SocketBase found)
    {
        const int instruction = 8; // sizeof(struct sock_filter)
        var count = SocketCalls.TryGetOption(socket, SocketLevel, Filter, default);
        if (count == 0 || count is -Errno.ENOPROTOOPT or -Errno.EOPNOTSUPP) return;
        // EACCES: an eBPF program, which can't be read back.
        if (count < 0) throw new TargetException($"its packet filter can't be read: {Errno.Describe(-count)}");
        // In and out, this length counts instructions.
        var filter = SocketCalls.GetFilter(socket, count);
        found.Filter = ByteString.CopyFrom(filter.AsSpan(0, count * instruction));
    }

    private static void SetFilter(SafeFileHandle socket, ReadOnlySpan<byte> filter, FileObject who)
    {
        if (SocketCalls.TrySetFilter(socket, filter) is var errno and not 0)
            throw new EnvironmentException($"{who}: setsockopt(SO_ATTACH_FILTER): {Errno.Describe(errno)}");
    }

    /// <summary>The options of a family and type, and what a new socket has.</summary>
    private sealed class Kind
    {
        private readonly int domain, type, protocol;

        private Kind(SocketBase socket)
        {
            (domain, type, protocol) = (socket.Domain, socket.Type, socket.Protocol);
            Known = TableOf(socket);
            using var fresh = SocketCalls.Create(domain, type, protocol);
            New = new byte[Known.Length][];
            for (var i = 0; i < Known.Length; i++)
            {
                var value = new byte[Known[i].Size];
                var length = SocketCalls.TryGetOption(fresh, Known[i].Level, Known[i].Number, value);
                if (length >= 0) New[i] = value[..length];
            }
        }

        /// <summary>In the order in which they are set.</summary>
        public Known[] Known { get; }

        /// <summary>Values of a new socket; null where there is no such option.</summary>
        public byte[]?[] New { get; }

        /// <summary>Of a socket like this one; asked for once.</summary>
        public static Kind Of(SocketBase socket)
        {
            lock (Kinds)
            {
                foreach (var known in Kinds)
                    if (known.domain == socket.Domain && known.type == socket.Type && known.protocol == socket.Protocol) return known;
                Kinds.Add(new Kind(socket));
                return Kinds[^1];
            }
        }

        public static Known[] TableOf(SocketBase socket) => (socket.Domain, socket.Type) switch
        {
            (SocketNames.Unix, _) => [.. Local, .. General],
            (SocketNames.Netlink, _) => [.. Netlink, .. General],
            (SocketNames.Internet, SocketNames.Stream) => [.. Address, .. Internet, .. Stream, .. General],
            (SocketNames.Internet, _) => [.. Address, .. Internet, .. Datagrams, .. General],
            (SocketNames.Internet6, SocketNames.Stream) => [.. Address6, .. Internet, .. Internet6, .. Stream, .. General],
            (SocketNames.Internet6, _) => [.. Address6, .. Internet, .. Internet6, .. Datagrams, .. Datagrams6, .. General],
            _ => General,
        };
    }
}
