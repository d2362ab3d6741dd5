using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Text;

namespace Crstore.Objects.Files.Sockets;

/// <summary>Numbers of socket(2), and struct sockaddr for people.</summary>
internal static class SocketNames
{
    internal const int Unix = 1, Internet = 2, Internet6 = 10, Netlink = 16;     // AF_
    internal const int Stream = 1, Datagram = 2, Raw = 3, Sequential = 5;        // SOCK_
    internal const int IpTcp = 6, IpUdp = 17, IpMultipathTcp = 262;              // IPPROTO_
    internal const int FamilySize = 2;                                           // sa_family_t

    /// <summary>As ss(8) would show it.</summary>
    internal static string Text(ReadOnlySpan<byte> address)
    {
        if (address.Length < FamilySize) return "(no name)";
        return BinaryPrimitives.ReadUInt16LittleEndian(address) switch
        {
            Unix => UnixText(address[FamilySize..]),
            Internet => string.Create(CultureInfo.InvariantCulture, $"{new IPAddress(address[4..8])}:{Port(address)}"),
            Internet6 => string.Create(CultureInfo.InvariantCulture, $"[{new IPAddress(address[8..24], BinaryPrimitives.ReadUInt32LittleEndian(address[24..]))}]:{Port(address)}"),
            var family => string.Create(CultureInfo.InvariantCulture, $"address family {family}"),
        };
    }

    /// <summary>The port of an IPv4 or IPv6 address.</summary>
    internal static int Port(ReadOnlySpan<byte> address) => address.Length < 4 ? 0 : BinaryPrimitives.ReadUInt16BigEndian(address[2..]);

    /// <summary>The path of a unix address; null for an abstract one, or none.</summary>
    internal static string? Path(ReadOnlySpan<byte> address)
    {
        if (address.Length <= FamilySize || address[FamilySize] == 0) return null;
        var path = address[FamilySize..];
        return Encoding.UTF8.GetString(path[..(path.IndexOf((byte)0) is >= 0 and var end ? end : path.Length)]);
    }

    private static string UnixText(ReadOnlySpan<byte> name) =>
        name.IsEmpty ? "(no name)" : Encoding.UTF8.GetString(name[0] == 0 ? [(byte)'@', .. name[1..]] : name).TrimEnd('\0');
}
