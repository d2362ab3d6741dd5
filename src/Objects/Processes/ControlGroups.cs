using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>cgroups(7), with their limits and accounts: a restarted process is in crstore's.</summary>
public sealed class ControlGroups : IProcessPart
{
    /// <inheritdoc/>
    public string Name => "cgroup";

    /// <inheritdoc/>
    public Coverage Coverage => new("in the control groups of crstore; it says so if those were others", "", "");

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        ArgumentNullException.ThrowIfNull(scene);
        if (process.Zombie || process.ControlGroups.Length == 0) yield break;
        // Said once of those that are together.
        if (scene.Body.Processes.TakeWhile(p => p != process).Any(p => p.ControlGroups == process.ControlGroups)) yield break;
        var lost = process.ControlGroups.Split('\n').Except(scene.Own.ControlGroups.Split('\n')).ToList();
        if (lost.Count > 0)
            yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.But($"it was in the control group {string.Join(", ", lost)} and comes back in crstore's: move it, or run crstore there (systemd-run)"));
    }
}
