using System.Collections.Concurrent;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model.Format;
using Google.Protobuf;

namespace Crstore.Capture.State;

/// <summary>
/// Describes files so that a later restore can tell whether they are still the same. Build ids are read once per file
/// version and kept: the same libraries lie in every target. Thread safe. Not for use inside the freeze: it reads files.
/// </summary>
public sealed class FileRefs
{
    private const string Deleted = " (deleted)";
    private readonly ConcurrentDictionary<FileStatus, byte[]> buildIds = new();

    /// <summary>
    /// Describes a file under its name in the target.
    /// </summary>
    /// <param name="name">As in /proc/PID/maps or readlink of /proc/PID/exe: may end in " (deleted)".</param>
    /// <param name="access">
    /// A path that reaches that very file from here, for instance /proc/PID/exe, /proc/PID/map_files/START-END or
    /// /proc/PID/root + name; null: the name itself.
    /// </param>
    /// <returns>With inode 0 if the file can't be looked at: then no later file counts as the same.</returns>
    public FileRef Describe(string name, string? access = null)
    {
        var path = name.EndsWith(Deleted, StringComparison.Ordinal) ? name[..^Deleted.Length] : name;
        var reference = new FileRef { Path = path, Deleted = path.Length != name.Length };
        if (FileStatus.TryOf(access ?? path, out var status) != 0)
            return reference;
        reference.Dev = status.Dev;
        reference.Inode = status.Inode;
        reference.SizeBytes = status.SizeBytes;
        reference.MtimeNs = status.MtimeNs;
        reference.Deleted |= status.Links == 0;
        if (status.IsRegular)
            reference.BuildId = ByteString.CopyFrom(BuildIdOf(access ?? path, status));
        return reference;
    }

    private byte[] BuildIdOf(string path, FileStatus status)
    {
        if (buildIds.TryGetValue(status, out var known))
            return known;
        byte[] id;
        try
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            id = FileStatus.Of(file) == status ? BuildId.Read(file) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or LinuxException)
        {
            // A file we may map but not read still has dev, inode, size and mtime to go by.
            return [];
        }
        return buildIds.GetOrAdd(status, id);
    }
}
