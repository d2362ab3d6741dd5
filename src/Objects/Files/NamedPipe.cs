using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>fifo(7): opened again by its name. What it holds is put back if all who have it open are in the checkpoint.</summary>
public sealed class NamedPipe : IFileKind
{
    private const int NonBlock = 0x800; // O_NONBLOCK

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
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        // For reading and writing, so that opening does not wait for the other end; then as it was, by way of /proc.
        var both = scene.Share(file.Link, () =>
        {
            var fifo = RawFile.Open(file.Link, RawOpen.ReadWrite | RawOpen.NonBlock);
            var content = scene.Files.FirstOrDefault(f => f.Link == file.Link && f.Record.Pipe is { Content.IsEmpty: false });
            if (content is not null && IsInside(file, scene)) Pipe.Fill(fifo, content, scene);
            return [fifo];
        })[0];
        var handle = Pipe.OpenAgain(both, file.Info.Flags | NonBlock);
        Descriptors.SetFlags(handle, file.Info.Flags & Descriptors.SettableFlags);
        return handle;
    }

    private static bool IsInside(FileObject file, RestartScene scene)
    {
        var ends = scene.Files.Where(f => f.Link == file.Link).ToList();
        return ends.Exists(f => f.Access != 1) && ends.Exists(f => f.Access != 0);
    }
}
