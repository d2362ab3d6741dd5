using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>Labels of Linux security modules, which a restarted process inherits from crstore.</summary>
public sealed class SecurityLabels : IProcessPart
{
    /// <inheritdoc/>
    public string Name => "label";

    /// <inheritdoc/>
    public Coverage Coverage => new("the label of AppArmor, SELinux or Smack that crstore has itself", "", "other labels");

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        ArgumentNullException.ThrowIfNull(scene);
        var mine = scene.Own.Label;
        if (!process.Zombie && process.SecurityLabel != mine && process.SecurityLabel.Length > 0)
            yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused($"its label is {process.SecurityLabel}, and {(mine.Length > 0 ? $"crstore's is {mine}: restart it from there" : "there are none here")}"));
    }
}
