using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>A terminal: the one that crstore is run from takes its place.</summary>
public sealed class TerminalFile : IFileKind
{
    /// <inheritdoc/>
    public string Name => "terminal";

    /// <inheritdoc/>
    public bool Is(Fd fd) => (fd.Mode & 0xf000) == 0x2000 && // S_IFCHR
        (fd.Link.StartsWith("/dev/pts/", StringComparison.Ordinal) || fd.Link.StartsWith("/dev/tty", StringComparison.Ordinal) || fd.Link == "/dev/console");

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => Verdict.Policy("--stdio", "the terminal that crstore restart is run from takes its place");

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene) => OutsideStdio.Open(file, scene);
}
