using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>Working directory and root directory.</summary>
public sealed class WorkingDirectory : IProcessPart
{
    /// <inheritdoc/>
    public string Name => "directory";

    /// <inheritdoc/>
    public Coverage Coverage => new("the working directory", "a working directory that is gone: --chdir", "a root directory other than the host's (chroot)");

    /// <inheritdoc/>
    public IEnumerable<string> Objects(Process process) => process.Zombie ? [] : [Root(process), Working(process)];

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        if (process.Zombie) yield break;
        if (process.Root is not ("/" or "")) yield return new ObjectVerdict(Name, Root(process), Verdict.Refused($"it is {process.Root}"));
        if (scene.Directory is null && !Directory.Exists(process.Cwd))
            yield return new ObjectVerdict(Name, Working(process), Verdict.Refused($"{process.Cwd} is not there; --chdir gives it another one"));
    }

    private static string Root(Process process) => $"root directory of process {process.Pid}";

    private static string Working(Process process) => $"working directory of process {process.Pid}";
}
