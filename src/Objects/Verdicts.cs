using Crstore.Objects.Files;
using Crstore.Objects.Processes;

namespace Crstore.Objects;

/// <summary>The verdict on one object.</summary>
/// <param name="Kind">Of the object: "pipe", "mapping"…</param>
/// <param name="Object">Names it.</param>
/// <param name="Verdict">What becomes of it.</param>
public readonly record struct ObjectVerdict(string Kind, string Object, Verdict Verdict);

/// <summary>What becomes of everything in a checkpoint at a restart.</summary>
public static class Verdicts
{
    /// <summary>All kinds of objects, and what becomes of each: the table of docs/LIMITS.md.</summary>
    public static IEnumerable<(string Name, Coverage Coverage)> Coverage() =>
        ProcessParts.All.Select(p => (p.Name, p.Coverage)).Concat(FileKinds.All.Select(k => (k.Name, k.Coverage)));

    /// <summary>What keeps a checkpoint from being restarted, a sentence for each; empty if nothing does.</summary>
    public static List<string> Obstacles(RestartScene scene) =>
        [.. Of(scene).Where(v => v.Verdict.Outcome == Restartability.Refused).Select(v => $"{v.Object}: {v.Verdict.Why}").Distinct()];

    /// <summary>What comes back a little different, a sentence for each.</summary>
    public static IEnumerable<string> Differences(IEnumerable<ObjectVerdict> verdicts)
    {
        foreach (var (_, name, verdict) in verdicts)
            if (verdict is { Outcome: Restartability.Restarts, Why.Length: > 0 }) yield return $"{name}: {verdict.Why}";
    }

    /// <summary>What comes back as an option says, a sentence for each.</summary>
    public static IEnumerable<string> Decided(IEnumerable<ObjectVerdict> verdicts, string flag) =>
        verdicts.Where(v => v.Verdict.Outcome == Restartability.WithPolicy && v.Verdict.Flag == flag).Select(v => $"{v.Object}: {v.Verdict.Why}").Distinct();

    /// <summary>Of processes what does not simply come back; of open files all.</summary>
    /// <param name="scene">Of the restart.</param>
    /// <param name="all">Of processes, too, what simply comes back: mappings, threads, timers, namespaces and so on.</param>
    public static List<ObjectVerdict> Of(RestartScene scene, bool all = false)
    {
        ArgumentNullException.ThrowIfNull(scene);
        var found = new List<ObjectVerdict>();
        foreach (var process in scene.Body.Processes)
        {
            foreach (var part in ProcessParts.All)
            {
                var told = part.Check(process, scene).ToList();
                if (all) found.AddRange(part.Objects(process).Except(told.Select(v => v.Object)).Select(o => new ObjectVerdict(part.Name, o, Verdict.Restarts)));
                found.AddRange(told);
            }
        }

        foreach (var file in scene.Files)
        {
            var kind = FileKinds.Of(file);
            var verdict = scene.IsMapped(file) ? Verdict.Restarts
                : file.Record.Problem.Length > 0 ? Verdict.Refused(file.Record.Problem)
                : FileSignals.WhyNot(file, scene) is { } why ? Verdict.Refused(why)
                : kind.Check(file, scene);
            found.Add(new ObjectVerdict(kind.Name, file.ToString(), verdict));
        }

        return found;
    }
}
