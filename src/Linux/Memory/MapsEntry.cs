namespace Crstore.Linux.Memory;

/// <summary>PROT_ bits of mmap(2).</summary>
[Flags]
public enum MemoryProtection
{
    /// <summary>PROT_NONE.</summary>
    None = 0,

    /// <summary>PROT_READ.</summary>
    Read = 1,

    /// <summary>PROT_WRITE.</summary>
    Write = 2,

    /// <summary>PROT_EXEC.</summary>
    Execute = 4,
}

/// <summary>One line of /proc/PID/maps, proc(5).</summary>
/// <param name="Start">First address.</param>
/// <param name="End">First address behind it.</param>
/// <param name="Protection">Access.</param>
/// <param name="Shared">MAP_SHARED.</param>
/// <param name="OffsetBytes">Offset in the file; 0 for anonymous memory.</param>
/// <param name="Device">Device of the file.</param>
/// <param name="Inode">Inode of the file; 0 for anonymous memory.</param>
/// <param name="Name">Path, "[heap]", "/memfd:x (deleted)" or "". A newline in a path stays escaped as \012.</param>
public readonly record struct MapsEntry(
    ulong Start, ulong End, MemoryProtection Protection, bool Shared, ulong OffsetBytes, DeviceNumber Device, ulong Inode, string Name)
{
    private const string DeletedSuffix = " (deleted)";

    /// <summary>The file's last name is gone (or it never had one, as a memfd).</summary>
    public bool IsDeleted => Inode != 0 && Name.EndsWith(DeletedSuffix, StringComparison.Ordinal);

    /// <summary>The name as a path: without " (deleted)", with newlines back in.</summary>
    public string Path
    {
        get
        {
            var path = IsDeleted ? Name[..^DeletedSuffix.Length] : Name;
            return path.Contains("\\012", StringComparison.Ordinal) ? path.Replace("\\012", "\n", StringComparison.Ordinal) : path;
        }
    }
}
