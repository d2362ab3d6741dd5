using Crstore.Model.Format;

namespace Crstore.Objects.Files;

/// <summary>An fd of a process.</summary>
public sealed record FdUse(Process Process, Fd Fd);

/// <summary>An open file description of a checkpoint, with the fds that refer to it.</summary>
public sealed class FileObject
{
    private const uint TypeMask = 0xf000, Directory = 0x4000; // S_IFMT, S_IFDIR, inode(7)
    private FdInfo? info;

    /// <summary>Of a record and its fds, of which there is at least one.</summary>
    public FileObject(OpenFile record, IReadOnlyList<FdUse> uses)
    {
        if (uses.Count == 0) throw new ArgumentException("an open file without an fd", nameof(uses));
        (Record, Uses) = (record, uses);
    }

    /// <summary>Kind, and what the kernel had behind it.</summary>
    public OpenFile Record { get; }

    /// <summary>The fds, in the order of processes and numbers.</summary>
    public IReadOnlyList<FdUse> Uses { get; }

    /// <summary>During a capture: what keeps the content of files.</summary>
    public ContentSaver? Contents { get; init; }

    /// <summary>The first one: link, fdinfo and status are the same for all.</summary>
    public Fd Fd => Uses[0].Fd;

    /// <summary>What /proc/PID/fd/N points to.</summary>
    public string Link => Fd.Link;

    /// <summary>Offset, flags and what else fdinfo says.</summary>
    public FdInfo Info => info ??= FdInfo.Parse(Fd.Fdinfo.Span);

    /// <summary>Access mode: O_RDONLY 0, O_WRONLY 1, O_RDWR 2.</summary>
    public int Access => Info.Flags & 3;

    /// <summary>S_IFMT bits of the mode, inode(7).</summary>
    public uint Type => Fd.Mode & TypeMask;

    /// <summary>A directory of any file system.</summary>
    public bool IsDirectory => Type == Directory;

    /// <summary>For messages.</summary>
    public override string ToString() => $"fd {Fd.Number} of process {Uses[0].Process.Pid} ({Link})";
}
