using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>
/// A kind of open file: how it is told from others, what a capture must save of it, whether it comes back, and how.
/// A new kind is one file and one line in <see cref="FileKinds"/>.
/// </summary>
public interface IFileKind
{
    /// <summary>In manifests, verdicts and docs/LIMITS.md.</summary>
    string Name { get; }

    /// <summary>For docs/LIMITS.md.</summary>
    Coverage Coverage { get; }

    /// <summary>True if an fd refers to such an object.</summary>
    bool Is(Fd fd);

    /// <summary>Saves what link, fdinfo and status don't tell, in the freeze. Nothing that the target could notice is done to the object.</summary>
    /// <param name="file">Its record is filled.</param>
    /// <param name="open">Gives a duplicate of the fd; to be disposed of.</param>
    void Dump(FileObject file, Func<SafeFileHandle> open)
    {
    }

    /// <summary>What becomes of it at a restart.</summary>
    Verdict Check(FileObject file, RestartScene scene);

    /// <summary>Makes it anew, in crstore; processes inherit it. Null: it is left out, or made by <see cref="Complete"/>.</summary>
    /// <exception cref="Model.CrstoreException">It can't be; names it.</exception>
    SafeFileHandle? Open(FileObject file, RestartScene scene);

    /// <summary>What only the process itself can do, once all its fds are in their places; for one of the fds of each object.</summary>
    void Complete(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
    }

    /// <summary>
    /// The last step, for its first fd in each process that has it: every object is complete in every process, and no process has fds but its own
    /// (those that all inherited are closed, and with them what closing any fd of a file ends).
    /// </summary>
    void Finish(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
    }
}
