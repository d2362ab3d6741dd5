using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Store;

/// <summary>
/// A store directory. Holding one of these holds no lock and no RocksDB instance: readers open a snapshot, writers take
/// the write lock for the commit alone.
/// </summary>
public sealed class CheckpointStore : IDisposable
{
    /// <summary>Opens an existing store. <see cref="UsageException"/> if there is none.</summary>
    public static CheckpointStore Open(StoreOptions options) => throw new NotSupportedException();

    /// <summary>Opens, or creates with mode 0700.</summary>
    public static CheckpointStore OpenOrCreate(StoreOptions options, out bool created) => throw new NotSupportedException();

    /// <summary>Allocates a CRID durably, registers the session, locks the series and loads the parent (the series' latest, unless <paramref name="full"/>).</summary>
    public ICheckpointWriter BeginCapture(string series, bool full) => throw new NotSupportedException();

    /// <summary>A consistent read-only snapshot, beside any writer.</summary>
    public StoreReader OpenReader() => throw new NotSupportedException();

    /// <summary>Removes checkpoints from view; gc frees their space.</summary>
    public ForgetResult Forget(IReadOnlyList<Crid> crids, bool dryRun) => throw new NotSupportedException();

    /// <summary>Frees what no manifest and no live session can reach.</summary>
    public GcResult CollectGarbage(GcOptions options, IProgress<StoreProgress>? progress, CancellationToken cancel) => throw new NotSupportedException();

    /// <inheritdoc/>
    public void Dispose() { }
}

/// <summary>A snapshot of a store.</summary>
public sealed class StoreReader : IDisposable
{
    /// <summary>Headers in CRID order.</summary>
    public IEnumerable<CheckpointHeader> Headers(string? series = null) => throw new NotSupportedException();

    /// <summary>All series, by name.</summary>
    public IReadOnlyList<SeriesInfo> Series() => throw new NotSupportedException();

    /// <summary>Header and body. <see cref="UsageException"/> if there is no such CRID.</summary>
    public CheckpointManifest Manifest(Crid crid) => throw new NotSupportedException();

    /// <summary>Resolves CRID | SERIES[@latest|@N|@TIME]: @N counts from 1 in the series, @TIME is the last one at or before it.</summary>
    public Crid Resolve(string spec) => throw new NotSupportedException();

    /// <summary>The image source of a CRID. It keeps the reader alive.</summary>
    public ICheckpointImage OpenImage(Crid crid) => throw new NotSupportedException();

    /// <summary>What differs, at a cost that grows with what differs.</summary>
    public DiffResult Diff(Crid a, Crid b, IProgress<StoreProgress>? progress, CancellationToken cancel) => throw new NotSupportedException();

    /// <summary>Checks structure and, as asked, content.</summary>
    public VerifyResult Verify(IReadOnlyList<Crid> crids, VerifyOptions options, IProgress<StoreProgress>? progress, CancellationToken cancel) => throw new NotSupportedException();

    /// <summary>Sizes and ratios.</summary>
    public StoreStats Stats(IProgress<StoreProgress>? progress, CancellationToken cancel) => throw new NotSupportedException();

    /// <inheritdoc/>
    public void Dispose() { }
}
