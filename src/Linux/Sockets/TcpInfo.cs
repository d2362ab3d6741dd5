using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Sockets;

/// <summary>What TCP_INFO says of a socket, tcp(7).</summary>
/// <param name="State">ESTABLISHED 1, CLOSE 7, LISTEN 10 and the rest of netinet/tcp.h.</param>
/// <param name="Waiting">Of a listener: connections that wait to be accepted.</param>
/// <param name="Backlog">Of a listener.</param>
public readonly record struct TcpInfo(int State, uint Waiting, uint Backlog)
{
    /// <summary>TCP_CLOSE: not connected, or no more.</summary>
    public const int Closed = 7;

    /// <summary>TCP_LISTEN.</summary>
    public const int Listening = 10;

    /// <summary>Of a socket; null: it is none of TCP, or doesn't tell.</summary>
    public static TcpInfo? Of(SafeFileHandle socket)
    {
        const int tcp = 6, info = 11; // IPPROTO_TCP, TCP_INFO
        // struct tcp_info: state at 0; of a listener tcpi_unacked at 24 and tcpi_sacked at 28 are its queue and its backlog.
        Span<byte> value = stackalloc byte[32];
        if (SocketCalls.TryGetOption(socket, tcp, info, value) < value.Length) return null;
        return new TcpInfo(value[0], BinaryPrimitives.ReadUInt32LittleEndian(value[24..]), BinaryPrimitives.ReadUInt32LittleEndian(value[28..]));
    }
}
