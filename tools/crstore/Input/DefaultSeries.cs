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
        using var reader = store.OpenReader();
        // Those of processes with that name and id, whenever they were started.
        var prefix = name[..(name.LastIndexOf('.') + 1)];
        var known = reader.SeriesHeads().Where(s => s.Name.StartsWith(prefix, StringComparison.Ordinal)).OrderByDescending(s => s.Latest.Value).ToList();
        if (known.Count == 0 || known.Exists(s => s.Name == name)) return name;
        try
        {
            var fingerprint = TargetIdentity.Read(target.Pid).AtRandom;
            var own = known.Where(s => fingerprint.Length > 0 && reader.Manifest(s.Latest).Body.Proofs.Any(p => p.Pid == target.Pid && p.AtRandom.Span.SequenceEqual(fingerprint)));
            return own.Select(s => s.Name).FirstOrDefault(name);
        }
        catch (Exception e) when (e is CrstoreException or LinuxException)
        {
            return name; // the process is gone, or the series damaged: the capture itself tells
        }
    }
}
