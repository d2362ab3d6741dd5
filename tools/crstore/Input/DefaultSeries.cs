using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli;

/// <summary>
/// The series of a target that was given no name. A process that was restarted is the one that was captured, though it was started anew: by its id and the 16
/// random bytes that the kernel gave its program (AT_RANDOM, getauxval(3)), which come back with its memory. Its series goes on.
/// </summary>
internal static class DefaultSeries
{
    /// <summary>Its name.</summary>
    public static string Of(ProcessSketch target, CheckpointStore store)
    {
        var name = target.DefaultSeries();
        using var reader = store.OpenView();
        // Those of processes with that name and id, whenever they were started.
        var prefix = name[..(name.LastIndexOf('.') + 1)];
        var unread = new List<string>();
        var known = reader.SeriesHeads(prefix, unread.Add).OrderByDescending(s => s.Latest.Value).ToList();
        if (known.Exists(s => s.Name == name)) return name;
        if (known.Count + unread.Count == 0 || Fingerprint(target.Pid) is not { Length: > 0 } fingerprint) return name;
        foreach (var series in known)
        {
            try
            {
                if (reader.Manifest(series.Latest).Body.Proofs.Any(p => p.Pid == target.Pid && p.AtRandom.Span.SequenceEqual(fingerprint))) return series.Name;
            }
            catch (Exception e) when (e is StoreDamagedException or UsageException)
            {
                unread.Add($"{e.Message} (series {series.Name})");
            }
        }

        // The capture is worth more than the right name, but whoever looks for it must know.
        foreach (var damage in unread)
            CommandContext.Warn($"it can't be told whether this process has a series already, so series {name} begins: {damage}; --series names one");
        return name;
    }

    // None if the process is gone, or may not be looked at: the capture itself tells.
    private static byte[] Fingerprint(int pid)
    {
        try
        {
            return TargetIdentity.Read(pid).AtRandom;
        }
        catch (Exception e) when (e is TargetException or LinuxException)
        {
            return [];
        }
    }
}
