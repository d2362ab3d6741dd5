using Crstore.Model;
using Crstore.Store.Manifests;
using Crstore.Store.Native;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Takes checkpoints out of view in one synced step. Any of them, in any order: every checkpoint is logically full, and
/// what others share with it stays reachable through them. The space is gc's business.
/// </summary>
internal static class Forgetting
{
    /// <summary>Checks that all of them exist.</summary>
    /// <exception cref="UsageException">Lists those that don't.</exception>
    public static IReadOnlyList<Crid> Check(RocksDb db, IReadOnlyList<Crid> crids)
    {
        var wanted = crids.Distinct().Order().ToList();
        var unknown = wanted.Where(c => db.Get(ColumnFamily.Manifests, Keys.Crid(c)) is null).ToList();
        return unknown.Count == 0 ? wanted : throw new UsageException(
            $"there is no CRID {string.Join(", ", unknown)} in the store; nothing was forgotten", "`crstore list` shows what there is");
    }

    /// <summary>Forgets. The caller holds the write lock.</summary>
    /// <param name="db">The store.</param>
    /// <param name="crids">Which.</param>
    /// <param name="damaged">Told of damaged series records, which don't stand in the way.</param>
    public static void Apply(RocksDb db, IReadOnlyList<Crid> crids, Action<string>? damaged = null)
    {
        var gone = crids.ToHashSet();
        using var batch = db.NewBatch();
        foreach (var crid in crids)
        {
            batch.Delete(ColumnFamily.Manifests, Keys.Crid(crid));
            batch.Delete(ColumnFamily.Bodies, Keys.Crid(crid));
            foreach (var space in MapScan.Spaces(db, crid)) batch.Delete(ColumnFamily.Maps, Keys.Root(crid, space));
        }

        MoveSeriesHeads(db, batch, gone, damaged ?? (_ => { }));
        StoreMeta.Put(batch, StoreMeta.Forgets, StoreMeta.Read(db, StoreMeta.Forgets) + 1);
        FaultPoint.Hit("forget.before-write");
        db.Write(batch);
        FaultPoint.Hit("forget.written");
    }

    /// <summary>A series whose latest checkpoint goes continues from the latest one that stays.</summary>
    private static void MoveSeriesHeads(RocksDb db, RocksWriteBatch batch, HashSet<Crid> gone, Action<string> damaged)
    {
        // A record that can't be read stays as it is: made anew from the headers it would have lost which trackers have lied.
        var records = SeriesRecords.ReadAll(db, damaged).Where(r => gone.Contains(new Crid(r.LatestCrid))).ToList();
        if (records.Count == 0) return;
        var latest = new Dictionary<string, ulong>();
        using (var i = db.Iterate(ColumnFamily.Manifests))
        {
            for (var there = i.SeekToFirst(); there; there = i.Next())
            {
                var crid = Keys.CridOf(i.Key);
                if (gone.Contains(crid)) continue;
                try
                {
                    latest[ManifestCodec.DecodeHeader(crid, i.Value).Series] = crid.Value;
                }
                catch (StoreDamagedException)
                {
                    // A header that can't be read is no head to continue from; forgetting must work beside it.
                    continue;
                }
            }
        }

        foreach (var record in records)
        {
            record.LatestCrid = latest.GetValueOrDefault(record.Name);
            SeriesRecords.Put(batch, record);
        }
    }
}
