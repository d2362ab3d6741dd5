using System.Diagnostics;

namespace Crstore.Store.Native;

/// <summary>
/// What a short-lived writer owes the store before it closes: RocksDB's background work dies with each process, so WALs
/// and level 0 files would pile up over hundreds of small captures.
/// </summary>
internal static class Housekeeping
{
    private const int MaxWals = 16;
    private const long MaxWalBytes = 8 << 20;      // every open replays them: about 50 ms
    private const ulong MaxLevel0Files = 8;        // each is a seek more per lookup; RocksDB compacts from 4 on if it gets the time
    private const int MaxSmallFiles = 64;          // in a row: RocksDB moves them down as they are and never merges them
    public const ulong SmallFileBytes = 16 << 20; // ingested files have 64 MiB, those of the index StoreOptions.IndexFileEntries
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    /// <summary>Flushes if there is much to replay, and lets compaction go on while level 0 is high.</summary>
    /// <returns>
    /// The database may stay open for further commits: nothing failed, and nothing compacts on its own from now on, which could meet a damaged block
    /// and so take the next one's right to write.
    /// </returns>
    public static bool Run(RocksDb db)
    {
        var compacts = false;
        var wals = Directory.GetFiles(db.Path, "*.log");
        if (wals.Length > MaxWals || wals.Sum(SizeOf) > MaxWalBytes)
        {
            FlushAll(db);
            MergeSmallFiles(db);
        }

        var began = Stopwatch.GetTimestamp();
        foreach (var family in Enum.GetValues<ColumnFamily>())
        {
            if (Level0(db, family) < MaxLevel0Files) continue;
            compacts = true;
            db.CompactByItself(family);
            while (Level0(db, family) >= MaxLevel0Files && Stopwatch.GetElapsedTime(began) < Patience && Busy(db, family) && !HasFailed(db, family))
                Thread.Sleep(2);
        }

        return !compacts && !HasFailed(db, ColumnFamily.Default); // where RocksDB counts the failures of all
    }

    /// <summary>RocksDB removes obsolete WALs in the background: one that is gone in this moment has no size.</summary>
    private static long SizeOf(string path)
    {
        var info = new FileInfo(path);
        return info.Exists ? info.Length : 0; // both from the one stat that Exists made
    }

    /// <summary>Merges small files that lie side by side, so that a long life of small captures leaves few files to open.</summary>
    private static void MergeSmallFiles(RocksDb db)
    {
        var files = db.LiveFiles();
        if (files.Count < MaxSmallFiles) return;
        var order = Comparer<byte[]>.Create((x, y) => x.AsSpan().SequenceCompareTo(y));
        foreach (var family in files.GroupBy(f => f.Family))
        {
            var run = new List<RocksFile>();
            foreach (var file in family.OrderBy(f => f.Smallest, order).Append(null))
            {
                if (file is { SizeBytes: < SmallFileBytes })
                {
                    run.Add(file);
                    continue;
                }

                if (run.Count >= MaxSmallFiles) db.Compact(family.Key, run[0].Smallest, run.Select(f => f.Largest).Max(order)!, rewriteBottom: true);
                run.Clear();
            }
        }
    }

    /// <summary>Writes all memtables to files; the WALs become obsolete.</summary>
    public static void FlushAll(RocksDb db)
    {
        foreach (var family in Enum.GetValues<ColumnFamily>())
            if (db.Property(family, "rocksdb.num-entries-active-mem-table") > 0) db.Flush(family);
    }

    private static ulong Level0(RocksDb db, ColumnFamily family) => db.Property(family, "rocksdb.num-files-at-level0");

    /// <summary>A compaction has met damage: no other one will begin in this process.</summary>
    private static bool HasFailed(RocksDb db, ColumnFamily family) => db.Property(family, "rocksdb.background-errors") != 0;

    private static bool Busy(RocksDb db, ColumnFamily family) =>
        db.Property(family, "rocksdb.compaction-pending") != 0 || db.Property(family, "rocksdb.num-running-compactions") != 0;
}
