using System.Globalization;
using Crstore.Linux.Files;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>eventfd(2), with its count.</summary>
public sealed class EventFile : IFileKind
{
    /// <inheritdoc/>
    public string Name => "eventfd";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "count, semaphore or not (where the kernel tells: 6.5)",
        "",
        "");

    /// <inheritdoc/>
    public bool Is(Fd fd) => fd.Link == "anon_inode:[eventfd]";

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene) =>
        Count(file) is { } count && count != ulong.MaxValue ? Verdict.Restarts : Verdict.Refused("its count is not known");

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var semaphore = file.Info.Value("eventfd-semaphore"); // since Linux 6.5
        if (semaphore is null) scene.Warnings.Add($"{file}: the kernel of the capture did not tell whether it is a semaphore; it is taken for none");
        var handle = EventFiles.CreateEvent(Count(file) ?? 0, semaphore == "1");
        Descriptors.SetFlags(handle, file.Info.Flags & Descriptors.SettableFlags);
        return handle;
    }

    private static ulong? Count(FileObject file) =>
        ulong.TryParse(file.Info.Value("eventfd-count"), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var count) ? count : null;
}
