using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>fifo(7): opened again by its name. What it holds is put back if all who have it open are in the checkpoint.</summary>
public sealed class NamedPipe : IFileKind
{
    /// <inheritdoc/>
    public string Name => "fifo";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "FIFOs by their name; with what they held if all who have them open are in the checkpoint", "what they held, else: left to those outside", "FIFOs that are gone");

    /// <inheritdoc/>
    public bool Is(Fd fd) => (fd.Mode & 0xf000) == 0x1000 && fd.Link.StartsWith('/'); // S_IFIFO

    /// <inheritdoc/>
    public void Dump(FileObject file, Func<SafeFileHandle> open) => Pipe.DumpEnd(file, open);

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        if (FileStatus.TryOf(file.Link, out var now) != 0 || (now.Mode & 0xf000) != 0x1000) return Verdict.Refused("there is no FIFO of that name any more");
        return file.Record.Pipe is { Content.IsEmpty: false } && !IsInside(file, scene)
            ? Verdict.Policy("--map-fd", "what it holds is left to those outside who have it open")
            : Verdict.Restarts;
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene) => Pipe.OpenEnd(file, Both(file, scene));

    /// <summary>Puts back what it held: those outside may read it at once, so as late as can be.</summary>
    public void Complete(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
        if (IsInside(file, scene)) scene.Share("content of " + file.Link, () =>
        {
            Pipe.Fill(file.Link, scene, Both(file, scene));
            return [];
        });
    }

    // For reading and writing, so that opening does not wait for the other end.
    private static SafeFileHandle Both(FileObject file, RestartScene scene) =>
        scene.Share(file.Link, () => [RawFile.Open(file.Link, RawOpen.ReadWrite | RawOpen.NonBlock)])[0];

    private static bool IsInside(FileObject file, RestartScene scene)
    {
        var ends = scene.Files.Where(f => f.Link == file.Link).ToList();
        return ends.Exists(f => f.Access != 1) && ends.Exists(f => f.Access != 0);
    }
}
