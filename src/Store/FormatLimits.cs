namespace Crstore.Store;

/// <summary>
/// Every bound that a parser of stored bytes enforces, in one place. Bytes beyond a bound are damage: no stored length is
/// ever believed before it was compared with one of these. The values are far above what a real target needs; writers
/// refuse to exceed them too, so nothing is stored that could not be read back.
/// </summary>
public sealed record FormatLimits
{
    /// <summary>The limits of this format version.</summary>
    public static FormatLimits Default { get; } = new();

    /// <summary>Pages in an address space: 57 address bits (5-level paging).</summary>
    public ulong MaxPageNumber { get; init; } = 1UL << 45;

    /// <summary>Extents in a page-map segment: one per page at worst.</summary>
    public int MaxSegmentExtents { get; init; } = PageMaps.Segment.Pages;

    /// <summary>Bytes of an encoded segment: 512 extents of at most 2 + 10 + 5 bytes, version and checksum.</summary>
    public int MaxSegmentBytes { get; init; } = 9 * 1024;

    /// <summary>Entries of a page-map root: 8 TiB populated with every segment in another CRID than its neighbours.</summary>
    public int MaxRootEntries { get; init; } = 1 << 22;

    /// <summary>Bytes of an encoded root.</summary>
    public int MaxRootBytes { get; init; } = 64 << 20;

    /// <summary>Slots of a frame.</summary>
    public int MaxFrameSlots { get; init; } = Model.ChunkLocation.SlotsPerFrame;

    /// <summary>Bytes of a frame's payload, packed or not: a frame that would not shrink is stored as it is.</summary>
    public int MaxFramePayloadBytes { get; init; } = Model.ChunkLocation.SlotsPerFrame * Model.VirtualPage.Size;

    /// <summary>Bytes of a dictionary.</summary>
    public int MaxDictionaryBytes { get; init; } = 64 << 20;

    /// <summary>Slots of a patch group: its bitmap has 64 bits.</summary>
    public int MaxPatchSlots { get; init; } = Patches.PatchGroupId.Slots;

    /// <summary>Bytes of a patch: a page of which more differs is stored as it is.</summary>
    public int MaxPatchBytes { get; init; } = Model.VirtualPage.Size / 4;

    /// <summary>Bytes of a stored checkpoint header.</summary>
    public int MaxHeaderBytes { get; init; } = 64 << 10;

    /// <summary>Bytes of a stored checkpoint body.</summary>
    public int MaxBodyBytes { get; init; } = 512 << 20;

    /// <summary>Characters of a series name.</summary>
    public int MaxSeriesChars { get; init; } = 512;

    /// <summary>Characters of a path, a name, a reason: PATH_MAX, each character escaped as four, with room to spare.</summary>
    public int MaxStringChars { get; init; } = 64 << 10;

    /// <summary>Bytes of one opaque field: cmdline, environ (each up to a quarter of the stack limit), XSTATE, fdinfo.</summary>
    public int MaxBlobBytes { get; init; } = 32 << 20;

    /// <summary>Processes in a checkpoint: the default pid_max of a 64-bit kernel.</summary>
    public int MaxProcesses { get; init; } = 1 << 22;

    /// <summary>Threads in a process.</summary>
    public int MaxThreads { get; init; } = 1 << 22;

    /// <summary>VMAs in a process: vm.max_map_count is 65530 unless raised; some raise it to 2^24.</summary>
    public int MaxVmas { get; init; } = 1 << 24;

    /// <summary>File descriptors in a process: fs.nr_open is 2^20 unless raised.</summary>
    public int MaxFds { get; init; } = 1 << 24;

    /// <summary>Entries of the small per-process lists: signal actions, rlimits, namespaces, groups.</summary>
    public int MaxSmallList { get; init; } = 1 << 16;

    /// <summary>Warnings, exclusions and phases of a checkpoint, each.</summary>
    public int MaxNotes { get; init; } = 1 << 20;
}
