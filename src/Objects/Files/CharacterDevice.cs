using Crstore.Linux.Memory;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>Devices that keep nothing of who has opened them: /dev/null, zero, full, random, urandom.</summary>
public sealed class CharacterDevice : IFileKind
{
    private static readonly HashSet<string> Stateless = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

    /// <inheritdoc/>
    public string Name => "device";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "/dev/null, zero, full, random, urandom", "", "");

    /// <inheritdoc/>
    public bool Is(Fd fd) => (fd.Mode & 0xf000) == 0x2000 && Stateless.Contains(fd.Link); // S_IFCHR

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => Verdict.Restarts;

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene) => RawFile.Open(file.Link, (RawOpen)file.Info.Flags);
}
