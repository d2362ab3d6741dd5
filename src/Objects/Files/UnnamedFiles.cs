using System.Globalization;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>
/// Memory and files without a name, which processes share by mapping them and by fds: each is made anew once, by whoever asks first.
/// What is mapped of it gets its content from the page maps, the rest is in the records of its fds.
/// </summary>
public static class UnnamedFiles
{
    private const string Deleted = " (deleted)", Memory = "/memfd:";
    private const uint SealSeal = 1, AllowSealing = 2; // F_SEAL_SEAL, fcntl(2); MFD_ALLOW_SEALING, memfd_create(2)
    private const RawOpen Unnamed = (RawOpen)(0x410000 | 0x80); // O_TMPFILE | O_EXCL, open(2): it can't get a name

    /// <summary>The object; stays the scene's.</summary>
    /// <param name="scene">Of the restart.</param>
    /// <param name="dev">As in st_dev.</param>
    /// <param name="inode">Inode number at the capture.</param>
    /// <param name="name">As maps or the link has it.</param>
    public static SafeFileHandle Get(RestartScene scene, ulong dev, ulong inode, string name)
    {
        ArgumentNullException.ThrowIfNull(scene);
        return scene.Share(string.Create(CultureInfo.InvariantCulture, $"unnamed {dev:x}:{inode}"), () => [Make(Records(scene, dev, inode), name)])[0];
    }

    /// <summary>The exact size, if there are fds to know it from.</summary>
    public static ulong? SizeOf(RestartScene scene, ulong dev, ulong inode) =>
        Records(scene, dev, inode) is [var first, ..] ? first.Record.Content.SizeBytes : null;

    /// <summary>The name without what the kernel adds.</summary>
    public static string Plain(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.EndsWith(Deleted, StringComparison.Ordinal) ? name[..^Deleted.Length] : name;
    }

    /// <summary>Puts saved content into a file.</summary>
    internal static void Fill(SafeFileHandle handle, FileContent content, string subject)
    {
        foreach (var segment in content.Segments) FileCalls.WriteAt(handle, segment.Content.Span, (long)segment.OffsetBytes, subject);
        FileCalls.SetLength(handle, (long)content.SizeBytes, subject);
    }

    private static List<FileObject> Records(RestartScene scene, ulong dev, ulong inode) =>
        [.. scene.Files.Where(f => f.Fd.Dev == dev && f.Fd.Inode == inode && f.Record.Content is { Unnamed: true })];

    private static SafeFileHandle Make(List<FileObject> files, string name)
    {
        var plain = Plain(name);
        var seals = files is [var any, ..] ? any.Record.Content.Seals : 0;
        var handle = files.Count == 0 || MemoryFile.IsLink(name)
            ? Descriptors.CreateMemory(plain.StartsWith(Memory, StringComparison.Ordinal) ? plain[Memory.Length..] : Path.GetFileName(plain), seals == SealSeal ? 0 : AllowSealing)
            : RawFile.Open(Path.GetDirectoryName(plain) ?? "/", Unnamed | RawOpen.ReadWrite, 0x180 /* 0600 */);
        try
        {
            if (files.Count == 0) return handle;
            // Only one of the descriptions has the content.
            var content = files.Select(f => f.Record.Content).FirstOrDefault(c => c.Saved) ?? files[0].Record.Content;
            var now = FileStatus.Of(handle);
            if (now.Uid != content.Uid || now.Gid != content.Gid) Descriptors.SetOwner(handle, content.Uid, content.Gid);
            Descriptors.SetMode(handle, files[0].Fd.Mode);
            Fill(handle, content, files[0].ToString());
            return handle;
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }
}
