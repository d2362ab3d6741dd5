using System.Buffers.Binary;
using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Sockets;

/// <summary>A group on an interface.</summary>
/// <param name="Interface">Index.</param>
/// <param name="Group">struct sockaddr_in or sockaddr_in6.</param>
public sealed record MulticastGroup(uint Interface, byte[] Group)
{
    /// <summary>The level of its options: IPPROTO_IP 0, IPPROTO_IPV6 41.</summary>
    public int Level => Group[0] == Multicast.Internet ? 0 : 41;
}

/// <summary>
/// Memberships of sockets in multicast groups. The kernel has no list of them per socket: it has one of all groups that this machine is in, and
/// of each a socket can be asked for its filter, which it has only as a member.
/// </summary>
public static class Multicast
{
    internal const int Internet = 2, Internet6 = 10; // AF_INET, AF_INET6
    private const int JoinGroup = 42, SourceFilter = 48, ExcludeMode = 0; // MCAST_JOIN_GROUP, MCAST_MSFILTER, MCAST_EXCLUDE, linux/in.h
    private const int RequestSize = 136, FilterSize = 144; // struct group_req, struct group_filter without sources

    /// <summary>The groups that a socket is a member of.</summary>
    /// <exception cref="LinuxException">EOPNOTSUPP: it hears some senders only.</exception>
    public static List<MulticastGroup> Of(SafeFileHandle socket, bool also6)
    {
        var found = new List<MulticastGroup>();
        Span<byte> filter = stackalloc byte[FilterSize];
        foreach (var group in also6 ? Groups4().Concat(Groups6()) : Groups4())
        {
            Request(filter, group);
            if (SocketCalls.TryGetOption(socket, group.Level, SourceFilter, filter) < 0) continue; // EADDRNOTAVAIL: not a member
            var (mode, sources) = (BinaryPrimitives.ReadUInt32LittleEndian(filter[136..]), BinaryPrimitives.ReadUInt32LittleEndian(filter[140..]));
            if (mode != ExcludeMode || sources > 0) throw new LinuxException("a multicast membership for certain senders", Errno.EOPNOTSUPP);
            found.Add(group);
        }

        return found;
    }

    /// <summary>Joins a group: 0 or the errno.</summary>
    public static int TryJoin(SafeFileHandle socket, MulticastGroup group)
    {
        Span<byte> request = stackalloc byte[RequestSize];
        Request(request, group);
        return SocketCalls.TrySetOption(socket, group.Level, JoinGroup, request);
    }

    // Both structs begin so: the interface, and behind padding the group as struct sockaddr_storage.
    private static void Request(Span<byte> request, MulticastGroup group)
    {
        request.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(request, group.Interface);
        group.Group.CopyTo(request[8..]);
    }

    private static IEnumerable<MulticastGroup> Groups4()
    {
        // A line per interface that begins with its index; behind it, indented, one per group that begins with the address.
        uint index = 0;
        foreach (var line in (TaskFile.TryReadText("/proc/net/igmp") ?? "").Split('\n').Skip(1))
        {
            if (line.Split((char[])[' ', '\t'], 2, StringSplitOptions.RemoveEmptyEntries) is not [var word, ..]) continue;
            if (!char.IsWhiteSpace(line[0]))
            {
                index = uint.Parse(word, CultureInfo.InvariantCulture);
                continue;
            }

            var address = new byte[16];
            BinaryPrimitives.WriteUInt16LittleEndian(address, Internet);
            BinaryPrimitives.WriteUInt32LittleEndian(address.AsSpan(4), uint.Parse(word, NumberStyles.HexNumber, CultureInfo.InvariantCulture));
            yield return new MulticastGroup(index, address);
        }
    }

    private static IEnumerable<MulticastGroup> Groups6()
    {
        foreach (var line in (TaskFile.TryReadText("/proc/net/igmp6") ?? "").Split('\n'))
        {
            // index device group users flags timer
            var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length < 3) continue;
            var address = new byte[28];
            BinaryPrimitives.WriteUInt16LittleEndian(address, Internet6);
            Convert.FromHexString(words[2]).CopyTo(address, 8);
            yield return new MulticastGroup(uint.Parse(words[0], CultureInfo.InvariantCulture), address);
        }
    }
}
