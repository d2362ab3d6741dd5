namespace Crstore.Store;

/// <summary>How new frames are compressed. Frames say for themselves how they were, so a store may mix.</summary>
/// <param name="ZstdLevel">zstd level, or null for none.</param>
public sealed record Compression(int? ZstdLevel)
{
    /// <summary>zstd level 1, <see cref="Native.ZstdCompressor.WrapFast">made faster</see> for pages; patches, which are small, at the level itself.</summary>
    public static readonly Compression Default = new(1) { Fast = true };

    /// <summary>Pages are compressed faster than at the level.</summary>
    public bool Fast { get; private init; }
}

/// <summary>How to open a store.</summary>
/// <param name="Directory">Store directory.</param>
public sealed record StoreOptions(string Directory)
{
    /// <summary>Compression of new frames.</summary>
    public Compression Compression { get; init; } = Compression.Default;

    /// <summary>How long a writer waits for another one before it gives up with <see cref="Crstore.Model.StoreBusyException"/>.</summary>
    public TimeSpan LockTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The tmpfs for checkpoints that are kept in memory only; null: /dev/shm.</summary>
    public string? MemoryRoot { get; init; }

    /// <summary>Bytes of memory that a checkpoint in memory may take before others get short of it; null: nobody asks.</summary>
    public Func<long>? SpareMemory { get; init; }

    /// <summary>For tests that leave nothing in memory behind when they are killed.</summary>
    internal bool MemoryMayBeDisk { get; init; }

    /// <summary>
    /// New pages above which a capture builds SST files and ingests them: below, one WriteBatch is cheaper (measured with
    /// 500 small captures: 5.7 against 9.0 ms each, and no compaction). Tests set it to walk both ways.
    /// </summary>
    internal int SmallCapturePages { get; init; } = 5000;

    /// <summary>
    /// Content addresses of new pages that a capture keeps in memory, 16 MiB of 2 GiB of pages; what comes after them goes to a file. A multiple of
    /// <see cref="Writing.HashLog.PieceSize"/>. Tests set it, and the next one.
    /// </summary>
    internal uint AddressesInMemory { get; init; } = 1 << 19;

    /// <summary>
    /// Entries in an index SST: 22 MiB of keys and values, so that <see cref="Native.Housekeeping"/> does not take it for one of many small files and merges
    /// the whole index; as much again to sort them, on each core.
    /// </summary>
    internal int IndexFileEntries { get; init; } = 1 << 19;

    /// <summary>Ends the waiting for another writer, with <see cref="OperationCanceledException"/>.</summary>
    public CancellationToken Cancel { get; init; }

    /// <summary>Told, once, when something waits: a sentence that names for whom.</summary>
    public Action<string>? Waiting { get; init; }

    /// <summary>Told what went wrong beside something that succeeded.</summary>
    public Action<string>? Warning { get; init; }
}

/// <summary>Progress of a long operation on the store.</summary>
/// <param name="Phase">What is being done.</param>
/// <param name="Done">Units done.</param>
/// <param name="Total">Units in all; 0 if unknown.</param>
public readonly record struct StoreProgress(string Phase, ulong Done, ulong Total);
