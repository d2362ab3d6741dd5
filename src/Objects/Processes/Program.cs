using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>The program file, which /proc/PID/exe names.</summary>
public sealed class Program : IProcessPart
{
    /// <summary>The program that a restart begins with, and that a pid namespace's first process goes on with.</summary>
    public const string RestartsOwn = "/memfd:crstore-restart";

    /// <inheritdoc/>
    public string Name => "program";

    /// <inheritdoc/>
    public Coverage Coverage => new("the program file, unchanged", "", "a program file that has changed or is gone");

    /// <inheritdoc/>
    public IEnumerable<string> Objects(Process process) => process.Zombie ? [] : [NameOf(process)];

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        if (process.Zombie) yield break;
        var name = NameOf(process);
        if (process.Exe.StartsWith(RestartsOwn, StringComparison.Ordinal))
            yield return new ObjectVerdict(Name, name, Verdict.Refused("it is crstore's own, of a restart with --new-pids: capture the process below it"));
        else if (process.ExeFile is not { } exe) yield return new ObjectVerdict(Name, name, Verdict.Refused("it is not known"));
        else if ((!scene.JustCaptured || exe.Deleted) && scene.MappedFiles.Open(exe) is null) yield return new ObjectVerdict(Name, name, Verdict.Refused($"{exe.Path} {scene.MappedFiles.WhyNot(exe)}"));
    }

    private static string NameOf(Process process) => $"program of process {process.Pid}";
}
