using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Maintenance;
using Crstore.Store.Native;

namespace Crstore.Store;

public sealed partial class CheckpointStore
{
    /// <summary>Those that are committed, in one synced step.</summary>
    internal ForgetResult ForgetHere(IReadOnlyList<Crid> crids, bool dryRun, Action<string>? damaged = null)
    {
        if (dryRun)
        {
            using var reader = OpenReader();
            return new ForgetResult(Forgetting.Check(reader.Database, crids), true);
        }

        return StoreErrors.Guard(() =>
        {
            using var access = WriteAccess.Take(this, "forget", toFree: true);
            var db = access.Database;
            var wanted = Forgetting.Check(db, crids);
            if (wanted.Count > 0) Forgetting.Apply(db, wanted, damaged);
            if (TidyUp(db)) access.Done();
            return new ForgetResult(wanted, false);
        });
    }

    /// <summary>As after a commit. What is forgotten is forgotten: nothing that goes wrong from here on may call it failed.</summary>
    /// <returns>The database may stay open.</returns>
    private static bool TidyUp(RocksDb db)
    {
        try
        {
            return Housekeeping.Run(db);
        }
        catch (Exception e) when (e is CrstoreException or IOException)
        {
            // A full disk, mostly. The next writer owes the same work, and is told if even its own writing fails.
            System.Diagnostics.Debug.WriteLine(e.Message);
            return false;
        }
    }

    /// <summary>
    /// A gc is under way. Each forget makes it look anew, so that who forgets again and again would keep it from ever freeing anything.
    /// </summary>
    public bool IsCollecting => StoreErrors.Guard(() =>
    {
        if (!File.Exists(Paths.GcLock)) return false;
        using var free = HeldLock.TryShared(Paths.GcLock);
        return free is null;
    });

    /// <summary>Frees what no manifest and no live session can reach. Safe beside captures, restores and forgets; may be
    /// cancelled, or killed, at any moment.</summary>
    /// <exception cref="StoreDamagedException">A page map is damaged: what it reaches is unknown, so nothing is freed.</exception>
    public GcResult CollectGarbage(GcOptions options, IProgress<StoreProgress>? progress, CancellationToken cancel) =>
        StoreErrors.Guard(() => options.DryRun
            ? GarbageEstimate.Make(this, progress, cancel)
            : new GarbageCollector(this, options, progress, cancel).Run());

    /// <summary>Packs all that no run before has come to again, harder. Beside captures, restores, forgets and gc; may be cancelled, or killed, at any moment, and goes on there the next time.</summary>
    public RecompressResult Recompress(IProgress<StoreProgress>? progress, CancellationToken cancel) =>
        StoreErrors.Guard(() => new Recompressor(this, progress, cancel).Run());
}
