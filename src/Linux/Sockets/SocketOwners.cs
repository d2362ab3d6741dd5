using System.Globalization;

namespace Crstore.Linux.Sockets;

/// <summary>A socket of /proc/net/tcp, udp and the like.</summary>
/// <param name="Port">Local port.</param>
/// <param name="State">TCP state: ESTABLISHED 1, CLOSE 7, LISTEN 10 and the rest of netinet/tcp.h.</param>
/// <param name="Waiting">Of a listener: connections that wait to be accepted.</param>
/// <param name="Inode">As in "socket:[N]"; 0 if no process has it.</param>
/// <param name="Remote">The other side, in the kernel's hexadecimal.</param>
public sealed record InetEntry(int Port, int State, int Waiting, ulong Inode, string Remote);

/// <summary>Who has a socket, as far as /proc tells.</summary>
public static class SocketOwners
{
    /// <summary>All sockets of a protocol, IPv4 and IPv6.</summary>
    /// <param name="pid">Of a process in the network namespace.</param>
    /// <param name="protocol">"tcp" or "udp".</param>
    public static List<InetEntry> Inet(int pid, string protocol)
    {
        var found = new List<InetEntry>();
        foreach (var name in new[] { protocol, protocol + "6" })
        {
            var text = TaskFile.TryReadText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/net/{name}"));
            foreach (var line in (text ?? "").Split('\n').Skip(1))
            {
                // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
                var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
                if (words.Length < 10) continue;
                found.Add(new InetEntry(Hex(words[1][(words[1].IndexOf(':', StringComparison.Ordinal) + 1)..]), Hex(words[3]),
                    Hex(words[4][(words[4].IndexOf(':', StringComparison.Ordinal) + 1)..]), ulong.Parse(words[9], CultureInfo.InvariantCulture), words[2]));
            }
        }

        return found;
    }

    /// <summary>Names the process that has a socket; null if none can be seen.</summary>
    public static string? Describe(ulong inode)
    {
        if (inode == 0) return null;
        var link = string.Create(CultureInfo.InvariantCulture, $"socket:[{inode}]");
        foreach (var pid in TaskFile.ListNumbers("/proc"))
            if (Links(pid).Contains(link)) return string.Create(CultureInfo.InvariantCulture, $"process {pid} ({TaskFile.TryReadText($"/proc/{pid}/comm")?.Trim()})");
        return null;
    }

    /// <summary>Names who has a port.</summary>
    public static string? DescribePort(string protocol, int port)
    {
        foreach (var entry in Inet(Environment.ProcessId, protocol).Where(e => e.Port == port))
            return Describe(entry.Inode) ?? (entry.Inode == 0 ? "a connection that is ending" : "a process that can't be seen");
        return null;
    }

    /// <summary>Names who has a unix socket's name, as /proc/net/unix shows it (an abstract one begins with @).</summary>
    public static string? DescribeUnix(string name)
    {
        foreach (var line in (TaskFile.TryReadText("/proc/net/unix") ?? "").Split('\n').Skip(1))
        {
            // Num RefCount Protocol Flags Type St Inode Path
            var words = line.Split(' ', 8, StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 8 && words[7] == name) return Describe(ulong.Parse(words[6], CultureInfo.InvariantCulture));
        }

        return null;
    }

    /// <summary>Inodes of the sockets that a process has open; empty if it is gone.</summary>
    public static HashSet<ulong> Of(int pid) =>
        [.. Links(pid).Where(l => l.StartsWith("socket:[", StringComparison.Ordinal)).Select(l => ulong.Parse(l.AsSpan(8, l.Length - 9), CultureInfo.InvariantCulture))];

    private static List<string> Links(int pid)
    {
        try
        {
            var directory = new DirectoryInfo(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/fd"));
            return [.. directory.EnumerateFileSystemInfos().Select(f => f.LinkTarget).OfType<string>()];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return []; // gone, or somebody else's
        }
    }

    private static int Hex(string word) => int.Parse(word, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
