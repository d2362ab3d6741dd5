using Crstore.Linux.Files;
using Crstore.Model.Format;
using Google.Protobuf;

namespace Crstore.Capture.Memory;

/// <summary>A file that the target has mapped, and whether the path still leads to it.</summary>
public sealed class MappedFile
{
    /// <summary>Path as the target sees it.</summary>
    public required string Path { get; init; }

    /// <summary>stat of the mapped file itself where the kernel lets us, else of the path; null if neither could be had.</summary>
    public required FileStatus? Status { get; init; }

    /// <summary>The path leads to the very file that is mapped, so that unmodified pages can be had from it later.</summary>
    public required bool SameAtPath { get; init; }

    /// <summary>tmpfs, shared memory or a memfd: its content is memory.</summary>
    public required bool IsShmem { get; init; }

    /// <summary>hugetlbfs.</summary>
    public required bool IsHugetlb { get; init; }

    /// <summary>NT_GNU_BUILD_ID, filled in outside the freeze; empty if it has none, null as long as nobody has looked.</summary>
    public byte[]? BuildId { get; set; }

    /// <summary>Path by which the file can be opened from here (map_files, the target's fd, its root); null if none.</summary>
    public required string? OpenPath { get; init; }

    /// <summary>The message for the manifest.</summary>
    public FileRef ToReference() => new()
    {
        Path = Path,
        Dev = Status?.Dev ?? 0,
        Inode = Status?.Inode ?? 0,
        SizeBytes = Status?.SizeBytes ?? 0,
        MtimeNs = Status?.MtimeNs ?? 0,
        BuildId = ByteString.CopyFrom(BuildId ?? []),
        Deleted = !SameAtPath,
    };
}
