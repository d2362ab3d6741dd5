using System.Globalization;

namespace Crstore.Linux.Proc;

/// <summary>A link of /proc/PID/ns, namespaces(7): "pid:[4026531836]".</summary>
public static class NamespaceLink
{
    /// <summary>The links there are; those "for children" differ from the process's own after unshare or setns.</summary>
    public static IReadOnlyList<string> Names { get; } =
        ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"];

    /// <summary>The inode that identifies the namespace.</summary>
    /// <exception cref="InvalidDataException">Not of that form.</exception>
    public static ulong Inode(string link)
    {
        var open = link.IndexOf(":[", StringComparison.Ordinal);
        return open > 0 && link.EndsWith(']')
            && ulong.TryParse(link.AsSpan(open + 2, link.Length - open - 3), NumberStyles.None, CultureInfo.InvariantCulture, out var inode)
            ? inode
            : throw new InvalidDataException($"“{link}” is no namespace link");
    }
}
