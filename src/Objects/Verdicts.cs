using Crstore.Objects.Files;

namespace Crstore.Objects;

/// <summary>The verdict on one object.</summary>
/// <param name="Kind">Of the object: "pipe", "mapping"…</param>
/// <param name="Object">Names it.</param>
/// <param name="Verdict">What becomes of it.</param>
public readonly record struct ObjectVerdict(string Kind, string Object, Verdict Verdict);

/// <summary>What becomes of everything in a checkpoint at a restart.</summary>
public static class Verdicts
{
    /// <summary>All objects, in the order of processes.</summary>
    public static List<ObjectVerdict> Of(RestartScene scene)
    {
        ArgumentNullException.ThrowIfNull(scene);
        var found = new List<ObjectVerdict>();
        foreach (var process in scene.Body.Processes.Where(p => p.StateIncomplete.Length > 0))
            found.Add(new ObjectVerdict("process", $"process {process.Pid}", Verdict.Refused($"its signal handlers and thread details are missing: {process.StateIncomplete}")));
        foreach (var exclusion in scene.Body.Exclusions)
            found.Add(new ObjectVerdict("mapping", $"memory {exclusion.Start:x} of process {exclusion.Pid}", Verdict.Refused($"it was not captured ({exclusion.Reason})")));
        foreach (var file in scene.Files)
        {
            var kind = FileKinds.Of(file);
            var verdict = file.Record.Problem.Length > 0 ? Verdict.Refused(file.Record.Problem)
                : scene.IsMapped(file) ? Verdict.Restarts
                : kind.Check(file, scene);
            found.Add(new ObjectVerdict(kind.Name, file.ToString(), verdict));
        }

        return found;
    }
}
