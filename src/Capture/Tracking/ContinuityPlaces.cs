using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;

namespace Crstore.Capture.Tracking;

/// <summary>A directory of continuity records, and who must own what lies there.</summary>
/// <param name="Directory">Path.</param>
/// <param name="Owner">uid.</param>
public sealed record ContinuityPlace(string Directory, uint Owner)
{
    /// <summary>Tests put everything below another root.</summary>
    public const string RootVariable = "CRSTORE_RUNTIME_ROOT";

    /// <summary>Every place where somebody who may reset this target's dirty state keeps its record: root's, and its owner's two.</summary>
    public static IReadOnlyList<ContinuityPlace> For(uint owner)
    {
        var root = Environment.GetEnvironmentVariable(RootVariable) ?? "";
        return owner == 0
            ? [new(root + "/run/crstore/targets", 0)]
            : [new(root + "/run/crstore/targets", 0), new($"{root}/run/user/{owner}/crstore/targets", owner), new($"{root}/tmp/crstore-{owner}/targets", owner)];
    }

    /// <summary>Where we write ourselves: root's place for root, else the run-time directory, or /tmp where there is none.</summary>
    public static ContinuityPlace Own(uint uid, uint targetOwner)
    {
        var places = For(uid == 0 ? 0 : targetOwner);
        if (uid == 0) return places[0];
        var runtime = places.Count > 1 ? Path.GetDirectoryName(Path.GetDirectoryName(places[1].Directory))! : "";
        return places.Count > 1 && FileStatus.TryOf(runtime, out var status) == 0 && status.IsDirectory && status.Uid == uid ? places[1] : places[^1];
    }

    /// <summary>
    /// Creates the directory if need be. Root's may be read by all, for they must notice its resets; it holds no secrets.
    /// </summary>
    /// <exception cref="LinuxException">It is somebody else's, or can't be made.</exception>
    public void Create()
    {
        var mode = Owner == 0 ? (UnixFileMode)0b111_101_101 : (UnixFileMode)0b111_000_000;
        foreach (var path in new[] { Path.GetDirectoryName(Directory)!, Directory })
        {
            try
            {
                if (!System.IO.Directory.Exists(path))
                {
                    System.IO.Directory.CreateDirectory(path, mode);
                    File.SetUnixFileMode(path, mode); // the umask may have taken something away
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new LinuxException("mkdir", Errno.EACCES, path);
            }

            using var handle = RawFile.Open(path, RawOpen.Directory | RawOpen.NoFollow);
            var status = FileStatus.Of(handle);
            if (status.Uid != Owner || (status.Mode & 0x12 /* group, others: write */) != 0)
                throw new LinuxException("open", Errno.EPERM,
                    $"{path}, which belongs to uid {status.Uid} with mode {Octal(status.Mode & 0xfff)} (set it right, or remove it: uid {Owner}, mode {Octal((uint)mode)})");
        }
    }

    private static string Octal(uint mode) => Convert.ToString(mode, 8);

    /// <summary>Path of a target's record.</summary>
    public string RecordOf(int pid, ulong startTimeTicks) => string.Create(CultureInfo.InvariantCulture, $"{Directory}/{pid}-{startTimeTicks}");

    /// <summary>Path of the marker, an empty file, that says: this userfaultfd was parked by crstore in this boot, whoever has inherited it.</summary>
    public string MarkerOf(ulong uffdInode, string bootId) => string.Create(CultureInfo.InvariantCulture, $"{Directory}/uffd-{uffdInode}-{bootId}");

    /// <summary>Removes the records of processes that are gone, and the markers of earlier boots. By their names alone: there may be thousands.</summary>
    public void Sweep(string bootId)
    {
        foreach (var path in System.IO.Directory.EnumerateFiles(Directory))
        {
            var name = Path.GetFileName(path.AsSpan());
            var dash = name.IndexOf('-');
            if (dash <= 0) continue;
            var stale = name.StartsWith("uffd-", StringComparison.Ordinal)
                ? !name.EndsWith("-" + bootId, StringComparison.Ordinal)
                : int.TryParse(name[..dash], NumberStyles.None, CultureInfo.InvariantCulture, out var pid) && !File.Exists($"/proc/{pid}/stat");
            if (stale) FileCalls.Unlink(path);
        }
    }
}
