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
        const uint strict = 1; // SECCOMP_MODE_STRICT, seccomp(2)
        if (process.Credentials is { Seccomp: not 0 and var mode })
            yield return new ObjectVerdict(Name, $"process {process.Pid}", Verdict.Refused(mode == strict ? "it allows itself four system calls only" : "it has a seccomp filter, which can't be read back"));
    }
}
