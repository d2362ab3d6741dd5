using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>A userfaultfd. crstore's own, parked in the target, is left out: the next capture arms the tracker anew.</summary>
public sealed class ParkedTracker : IFileKind
{
    /// <inheritdoc/>
    public string Name => "userfaultfd";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "crstore's own, which is left out: the next capture arms it anew", "", "userfaultfds of the program's own");

    /// <inheritdoc/>
    public bool Is(Fd fd) => fd.Link == "anon_inode:[userfaultfd]";

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        foreach (var use in file.Uses)
        {
            // A child that was forked since has inherited the fd with its number.
            if (scene.Body.Proofs.All(p => p.UffdFd != use.Fd.Number)) return Verdict.Refused("a userfaultfd of its own");
        }

        return Verdict.Restarts;
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene) => null;
}
