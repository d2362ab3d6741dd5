using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>memfd_create(2): a file that only memory holds.</summary>
public sealed class MemoryFile : IFileKind
{
    /// <inheritdoc/>
    public string Name => "memfd";

    /// <summary>True for what /proc/PID/fd or maps shows of one.</summary>
    public static bool IsLink(string link) => link.StartsWith("/memfd:", StringComparison.Ordinal);

    /// <inheritdoc/>
    public bool Is(Fd fd) => IsLink(fd.Link);

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => Verdict.Refused("not yet");

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene) => null;
}
