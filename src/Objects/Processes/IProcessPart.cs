using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Objects.Processes;

/// <summary>
/// Something that a process has besides open files: mappings, namespaces, a session. It says what of it does not simply come back.
/// A new one is one file and one line in <see cref="ProcessParts"/>.
/// </summary>
public interface IProcessPart
{
    /// <summary>In verdicts and docs/LIMITS.md.</summary>
    string Name { get; }

    /// <summary>For docs/LIMITS.md.</summary>
    Coverage Coverage { get; }

    /// <summary>The single objects of a process, named as <see cref="Check"/> does: those that it says nothing of simply come back.</summary>
    IEnumerable<string> Objects(Process process) => [];

    /// <summary>What of it comes back by a policy only, or not at all; nothing if all simply comes back.</summary>
    IEnumerable<ObjectVerdict> Check(Process process, RestartScene scene);
}
