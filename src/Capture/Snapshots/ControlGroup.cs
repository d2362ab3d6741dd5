using System.Globalization;
using Crstore.Linux;

namespace Crstore.Capture.Snapshots;

/// <summary>Limits of the control groups that a process is in, cgroups(7), version 1 and 2, from its own up to the root as far as it is mounted here.</summary>
public static class ControlGroup
{
    private const string Root = "/sys/fs/cgroup";

    /// <summary>Each level's limit and use; levels without a limit are left out.</summary>
    /// <param name="pid">Process.</param>
    /// <param name="controller">Name in version 1.</param>
    /// <param name="limit">File of the limit: a number or "max".</param>
    /// <param name="used">File of the use.</param>
    public static IEnumerable<(long Limit, long Used, string Path)> Levels(int pid, string controller, string limit, string used)
    {
        foreach (var path in Paths(pid, controller))
        {
            for (var at = path; at.Length > 0; at = at[..at.LastIndexOf('/')])
            {
                if (Number(at + "/" + limit) is { } most && Number(at + "/" + used) is { } now) yield return (most, now, at);
                if (at == Root) break;
            }
        }
    }

    /// <summary>A named number of a file such as memory.stat; 0 without.</summary>
    public static long Named(string file, string name)
    {
        foreach (var line in (TaskFile.TryReadText(file) ?? "").Split('\n'))
            if (line.StartsWith(name, StringComparison.Ordinal) && line.Length > name.Length && line[name.Length] == ' ') return long.Parse(line.AsSpan(name.Length + 1), CultureInfo.InvariantCulture);
        return 0;
    }

    // "4:memory:/a/b" of version 1, "0::/a/b" of version 2.
    private static IEnumerable<string> Paths(int pid, string controller)
    {
        foreach (var line in (TaskFile.TryReadText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/cgroup")) ?? "").Split('\n'))
        {
            var words = line.Split(':', 3);
            if (words.Length < 3) continue;
            if (words[1].Length == 0) yield return Root + words[2].TrimEnd('/');
            else if (words[1].Split(',').Contains(controller)) yield return $"{Root}/{words[1]}{words[2].TrimEnd('/')}";
        }
    }

    private static long? Number(string file)
    {
        try
        {
            return TaskFile.TryReadText(file) is { } text && long.TryParse(text.AsSpan().Trim(), CultureInfo.InvariantCulture, out var number) ? number : null;
        }
        catch (LinuxException)
        {
            return null; // not for us: then the machine's memory has to do
        }
    }
}
