using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Proc;

namespace Crstore.Restore.Restart;

/// <summary>Ids that no process of a given set can be made with, or begin a session or group with: somebody has them.</summary>
internal static class IdsInUse
{
    /// <summary>All of crstore's pid namespace but threads'. A session or group keeps its id after its leader has exited.</summary>
    public static HashSet<int> All()
    {
        var ids = new HashSet<int>();
        foreach (var pid in TaskFile.ListNumbers("/proc"))
        {
            ids.Add(pid);
            if (TaskFile.TryReadText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/stat")) is not { } line) continue;
            var stat = StatLine.Parse(System.Text.Encoding.UTF8.GetBytes(line));
            ids.Add(stat.Pgrp);
            ids.Add(stat.Session);
        }

        return ids;
    }
}
