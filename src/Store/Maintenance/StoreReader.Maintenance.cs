using Crstore.Model;
using Crstore.Store.Maintenance;
using Crstore.Store.Native;

namespace Crstore.Store;

public sealed partial class StoreReader
{
    /// <summary>
    /// What differs between two checkpoints, process by process (by pid) and VMA by VMA, at a cost that grows with what
    /// differs: page-map segments that both refer to are not even read.
    /// </summary>
    public DiffResult Diff(Crid a, Crid b, IProgress<StoreProgress>? progress, CancellationToken cancel) =>
        new CheckpointDiff(this, Manifest(a), this, Manifest(b), progress, cancel).Run();

    /// <summary>
    /// Checks the structure of the given checkpoints, all if there are none given, and their content as asked. Damage is in
    /// the result, not an exception. If all are checked, the index is too.
    /// </summary>
    /// <exception cref="UsageException">A CRID does not exist.</exception>
    public VerifyResult Verify(IReadOnlyList<Crid> crids, VerifyOptions options, IProgress<StoreProgress>? progress, CancellationToken cancel) =>
        new Verifier(this, options, progress, cancel).Run(crids);

    /// <summary>Sizes and ratios.</summary>
    /// <param name="progress">Told.</param>
    /// <param name="cancel">Asked.</param>
    /// <param name="damaged">Told of headers and series records that can't be read, which then don't count; null: an error.</param>
    public StoreStats Stats(IProgress<StoreProgress>? progress, CancellationToken cancel, Action<string>? damaged = null)
    {
        ulong logical = 0, chunks = 0;
        var checkpoints = 0;
        foreach (var header in Headers(damaged: damaged is null ? null : _ => { })) // Series tells of them
        {
            checkpoints++;
            logical += (header.Pages?.Logical ?? 0) * VirtualPage.Size;
        }

        using var i = Database.Iterate(ColumnFamily.Index);
        for (var there = i.SeekToFirst(); there; there = i.Next())
        {
            if (chunks++ % 65536 != 0) continue;
            cancel.ThrowIfCancellationRequested();
            progress?.Report(new StoreProgress("counting chunks", chunks, 0));
        }

        return new StoreStats(checkpoints, logical, chunks * VirtualPage.Size,
            StoreSizes.Of(Database, ColumnFamily.Chunks) + StoreSizes.Of(Database, ColumnFamily.Patches) + StoreSizes.Of(Database, ColumnFamily.Dictionaries), StoreSizes.Of(Database, ColumnFamily.Maps), StoreSizes.Of(Database, ColumnFamily.Index),
            StoreSizes.DirectoryBytes(Paths.Root), chunks, Series(damaged));
    }
}
