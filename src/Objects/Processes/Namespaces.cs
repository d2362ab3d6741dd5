using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>Namespaces, namespaces(7): only those that crstore itself was in at the capture.</summary>
public sealed class Namespaces : IProcessPart
{
    /// <inheritdoc/>
    public string Name => "namespace";

    /// <inheritdoc/>
    public Coverage Coverage => new("the host's namespaces", "", "namespaces of their own (containers)");

    /// <inheritdoc/>
    public IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene)
    {
        foreach (var own in process.Namespaces)
        {
            // What children will be in is told apart only if it differs, namespaces(7).
            var host = scene.Body.Host.Namespaces.FirstOrDefault(n => n.Kind == own.Kind);
            if (host is not null && host.Inode != own.Inode)
                yield return new ObjectVerdict(Name, $"{own.Kind} namespace of process {process.Pid}", Verdict.Refused("it is not the host's"));
        }
    }
}
