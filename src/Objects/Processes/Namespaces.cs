using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>Namespaces, namespaces(7): those that crstore itself was in at the capture, or can make anew.</summary>
public sealed class Namespaces : IProcessPart
{
    private const string ForChildren = "_for_children";

    /// <inheritdoc/>
    public string Name => "namespace";

    /// <inheritdoc/>
    public Coverage Coverage => new("the host's namespaces; of a pid or time namespace that all processes are in, the ids and the clocks inside", "a namespace's first process: --new-pids", "other namespaces of their own (containers)");

    /// <inheritdoc/>
    public IEnumerable<string> Objects(Process process) => process.Namespaces.Select(n => NameOf(n.Kind, process));

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        ArgumentNullException.ThrowIfNull(process);
        ArgumentNullException.ThrowIfNull(scene);
        var root = scene.Body.Processes[0];
        foreach (var own in process.Namespaces)
        {
            // What children will be in is told apart only if it differs, namespaces(7).
            var host = scene.Body.Host.Namespaces.FirstOrDefault(n => n.Kind == own.Kind);
            if (host is null) continue;
            var name = NameOf(own.Kind, process);
            var kind = own.Kind.Replace(ForChildren, "", StringComparison.Ordinal);
            if (kind is not ("pid" or "time"))
            {
                if (host.Inode != own.Inode) yield return new ObjectVerdict(Name, name, Verdict.Refused("it is not the host's"));
            }
            else if (root.Namespaces.FirstOrDefault(n => n.Kind == kind)?.Inode != own.Inode)
            {
                yield return new ObjectVerdict(Name, name, Verdict.Refused("it is not that of the first process"));
            }
        }

        // One for children that has no process yet can't be named.
        foreach (var kind in scene.Body.Host.Namespaces.Select(n => n.Kind).Where(k => process.Namespaces.Count > 0 && process.Namespaces.All(n => n.Kind != k)))
            yield return new ObjectVerdict(Name, NameOf(kind, process), Verdict.Refused("it is a new one, without a process in it"));
        if (process.Pid == 0 || process.Threads.Any(t => t.Tid == 0)) yield return new ObjectVerdict(Name, $"“{process.Comm}”", Verdict.Refused("its ids in its pid namespace are not known"));
        if (process.Pid == 1 && process == root && !scene.NewPids) yield return new ObjectVerdict(Name, "process 1", Verdict.Policy("--new-pids", "it is the first of a pid namespace"));
    }

    private static string NameOf(string kind, Process process) => $"{kind} namespace of process {process.Pid}";
}
