using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;

namespace Crstore.Capture.Memory;

/// <summary>
/// Looks up the files behind mappings, once per (device, inode, name). Filled before the freeze; what appears in the freeze
/// costs a few stats then. Build ids are read outside only.
/// </summary>
public sealed class FileCatalog(int pid)
{
    private readonly Dictionary<(DeviceNumber, ulong, string), MappedFile> _files = [];
    private Dictionary<(ulong, ulong), string>? _openFiles;

    /// <summary>The file behind a mapping with an inode.</summary>
    public MappedFile Find(in MapsEntry entry)
    {
        var key = (entry.Device, entry.Inode, entry.Name);
        if (_files.TryGetValue(key, out var file)) return file;
        return _files[key] = LookUp(entry);
    }

    /// <summary>Reads the build ids of files that nobody has looked at yet. Not for the freeze, nor where somebody waits: a file system may be slow.</summary>
    public void ReadBuildIds()
    {
        foreach (var file in _files.Values)
            if (file is { BuildId: null, SameAtPath: true, Status.IsRegular: true, OpenPath: not null, IsShmem: false, IsHugetlb: false })
                file.BuildId = ReadBuildId(file.OpenPath);
    }

    private static byte[] ReadBuildId(string path)
    {
        if (RawFile.TryOpen(path, RawOpen.NonBlock, 0, out var file) != 0) return []; // may be mapped, may not be read: no id then
        using (file) return BuildId.Read(file!);
    }

    private MappedFile LookUp(in MapsEntry entry)
    {
        // map_files needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, proc(5); then it gives the mapped file itself, even a deleted one.
        var mapFile = $"/proc/{pid}/map_files/{entry.Start:x}-{entry.End:x}";
        var atPath = $"/proc/{pid}/root{entry.Path}";
        var pathKnown = entry.Path.StartsWith('/') && FileStatus.TryOf(atPath, out var pathStatus) == 0 ? pathStatus : (FileStatus?)null;
        var isLink = FileStatus.TryOf(mapFile, out var mapped) == 0;
        if (isLink)
            return Describe(entry, mapped, pathKnown is { } p && !entry.IsDeleted && p.Dev == mapped.Dev && p.Inode == mapped.Inode, mapFile, mapFile);
        // Without it, maps' device must equal stat's. On btrfs and overlayfs it does not: then the file counts as another one and
        // everything is saved, which is right, only larger.
        if (pathKnown is { } q && !entry.IsDeleted && q.Dev == entry.Device.Encoded && q.Inode == entry.Inode)
            return Describe(entry, q, true, atPath, atPath);
        _openFiles ??= ListOpenFiles();
        return _openFiles.TryGetValue((entry.Device.Encoded, entry.Inode), out var link) && FileStatus.TryOf(link, out var open) == 0
            && open.Dev == entry.Device.Encoded && open.Inode == entry.Inode // the target may have another file there by now
            ? Describe(entry, open, false, link, link)
            : Describe(entry, null, false, null, null);
    }

    private static MappedFile Describe(in MapsEntry entry, FileStatus? status, bool same, string? openPath, string? fileSystemPath)
    {
        var type = fileSystemPath is null ? 0 : RawFile.FileSystemType(fileSystemPath);
        var name = entry.Name;
        return new MappedFile
        {
            Path = entry.Path,
            Status = status,
            SameAtPath = same,
            IsShmem = type == RawFile.TmpfsMagic || (type == 0 && (name.StartsWith("/memfd:", StringComparison.Ordinal)
                || name.StartsWith("/SYSV", StringComparison.Ordinal) || name.StartsWith("/dev/zero (deleted)", StringComparison.Ordinal))),
            IsHugetlb = type == RawFile.HugetlbfsMagic || name.StartsWith("/anon_hugepage", StringComparison.Ordinal),
            OpenPath = openPath,
        };
    }

    // The target's own fds: a memfd or a deleted file can be opened through them without privileges.
    private Dictionary<(ulong, ulong), string> ListOpenFiles()
    {
        var found = new Dictionary<(ulong, ulong), string>();
        var directory = $"/proc/{pid}/fd";
        try
        {
            foreach (var fd in TaskFile.ListNumbers(directory))
            {
                var link = string.Create(CultureInfo.InvariantCulture, $"{directory}/{fd}");
                if (FileStatus.TryOf(link, out var status) == 0 && status.IsRegular) found.TryAdd((status.Dev, status.Inode), link);
            }
        }
        catch (LinuxException)
        {
            // Not ours to list: nothing found, and the callers fall back to reading the memory itself. Or the process is gone,
            // which the freeze says with a better message.
            return found;
        }

        return found;
    }
}
