using System.Globalization;
using Crstore.Linux.Files;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>signalfd(2). What can be read from it are the pending signals of the process that reads.</summary>
public sealed class SignalFile : IFileKind
{
    /// <inheritdoc/>
    public string Name => "signalfd";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "its signals; those that are pending are the process's",
        "",
        "");

    /// <inheritdoc/>
    public bool Is(Fd fd) => fd.Link == "anon_inode:[signalfd]";

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) => Mask(file) is null ? Verdict.Refused("its signals are not known") : Verdict.Restarts;

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var handle = EventFiles.CreateSignals(Mask(file) ?? 0);
        Descriptors.SetFlags(handle, file.Info.Flags & Descriptors.SettableFlags);
        return handle;
    }

    // The kernel keeps the inverse, and prints what the caller gave.
    private static ulong? Mask(FileObject file) =>
        ulong.TryParse(file.Info.Value("sigmask"), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var mask) ? mask : null;
}
