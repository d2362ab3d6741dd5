using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>seccomp(2).</summary>
public sealed class SeccompFilters : IProcessPart
{
    /// <inheritdoc/>
    public string Name => "seccomp";

    /// <inheritdoc/>
    public Coverage Coverage => new("", "", "seccomp filters and strict seccomp");

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        if (process.Credentials is { Seccomp: not 0 })
            yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused("it has a seccomp filter, which can't be read back"));
    }
}
