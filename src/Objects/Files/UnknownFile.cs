using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>Everything that no other kind knows.</summary>
public sealed class UnknownFile : IFileKind
{
    /// <inheritdoc/>
    public string Name => "other";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "", "as standard input, output or error: --stdio; others: --map-fd", "io_uring, perf, bpf, fanotify, KVM, GPU and all other kinds");

    /// <inheritdoc/>
    public bool Is(Fd fd) => true;

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => OutsideStdio.Check(file, "this kind of file can't be made anew");

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene) => OutsideStdio.Open(file, scene);
}
