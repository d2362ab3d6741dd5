using System.Globalization;
using System.Text.RegularExpressions;
using Crstore.Linux.Files;
using Crstore.Model;

namespace Crstore.Restore;

/// <summary>
/// An output file or directory that is written beside its place and renamed when it is whole. Disposed without
/// <see cref="Commit"/> (a failure, an interrupt) nothing is left of it, and what stood there before is untouched.
/// </summary>
internal sealed partial class PartialOutput : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private readonly string target;
    private readonly bool isDirectory;
    private readonly bool force;
    private bool committed;

    private PartialOutput(string target, bool isDirectory, bool force)
    {
        this.target = target;
        this.isDirectory = isDirectory;
        this.force = force;
        Path = Beside("partial");
    }

    /// <summary>Where to write for now.</summary>
    internal string Path { get; }

    /// <summary>Checks that the place is free, or may be overwritten. The file itself is for the caller to create.</summary>
    internal static PartialOutput ForFile(string path, bool force) => Begin(path, isDirectory: false, force);

    /// <summary>The same for a directory, which is created (mode 0700).</summary>
    internal static PartialOutput ForDirectory(string path, bool force)
    {
        var output = Begin(path, isDirectory: true, force);
        Refusals.Guard("create", output.Path, () => Directory.CreateDirectory(output.Path, OwnerOnly));
        return output;
    }

    /// <summary>Puts it in its place.</summary>
    internal void Commit()
    {
        CheckPlace();
        var old = Beside("old");
        var replaced = force && Directory.Exists(target);
        Refusals.Guard("rename", Path, () =>
        {
            if (replaced)
                Directory.Move(target, old);
            if (isDirectory && force && File.Exists(target))
                File.Delete(target);
            if (isDirectory)
                Directory.Move(Path, target);
            else
                File.Move(Path, target, overwrite: force);
            return true;
        });
        committed = true;
        if (replaced)
            Refusals.Guard("delete what was replaced,", old, () => { Directory.Delete(old, recursive: true); return true; });
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (committed)
            return;
        if (Directory.Exists(Path))
            Directory.Delete(Path, recursive: true);
        else
            File.Delete(Path);
    }

    private static PartialOutput Begin(string path, bool isDirectory, bool force)
    {
        var full = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));
        var parent = System.IO.Path.GetDirectoryName(full)
            ?? throw new UsageException($"{path} can't be an output path");
        if (!Directory.Exists(parent))
            throw new UsageException($"the directory {parent} does not exist", "create it, or give another path");
        var output = new PartialOutput(full, isDirectory, force);
        output.CheckPlace();
        return output;
    }

    private void CheckPlace()
    {
        var info = new FileInfo(target);
        var isLink = info.LinkTarget is not null;
        if (!isLink && !info.Exists && !Directory.Exists(target))
            return;
        if (!force)
            throw new UsageException($"{target} exists already", "give another path, or --force to replace it");
        var plain = FileStatus.TryOf(target, out var status) == 0 && (status.IsRegular || status.IsDirectory);
        if (isLink || !plain)
            throw new UsageException($"{target} is no plain file or directory and is not replaced", "give another path");
        // --force on a directory that holds anything else would delete what nobody meant.
        if (status.IsDirectory && Directory.EnumerateFileSystemEntries(target).FirstOrDefault(e => !OwnName().IsMatch(System.IO.Path.GetFileName(e))) is { } foreign)
            throw new UsageException($"{target} holds {System.IO.Path.GetFileName(foreign)}, which no restore wrote: the directory is not replaced", "give another path");
    }

    private string Beside(string what) => System.IO.Path.Combine(System.IO.Path.GetDirectoryName(target)!,
        string.Create(CultureInfo.InvariantCulture, $".crstore-{what}-{System.IO.Path.GetFileName(target)}-{Environment.ProcessId}-{Random.Shared.Next():x}"));

    [GeneratedRegex(@"^(core\.\d+|map\.json|\d+)$")]
    private static partial Regex OwnName();
}
