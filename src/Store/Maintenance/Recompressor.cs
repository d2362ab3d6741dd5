using System.Diagnostics;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Layout;
using Crstore.Store.Native;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Packs frames and patch groups again, harder than a capture has the time for. Each stays under its key with its slots, so no page map and no
/// index entry moves, and each is replaced by one put: whoever reads finds the one or the other. Packing works on a snapshot, without a lock; under the write lock a
/// record is replaced only if it still is what was packed (gc may have taken pages out of it, or all of it away). How far it came is written with
/// what was replaced, so whatever cuts it short, the next run goes on there.
/// </summary>
internal sealed class Recompressor(CheckpointStore store, IProgress<StoreProgress>? progress, CancellationToken cancel)
{
    private const long BytesPerCompaction = 64 << 20; // looked at: what was replaced keeps its space until then, and a compaction rewrites all of it
    private const ulong BytesPerBatch = 8 << 20;
    private static readonly TimeSpan LetOthersIn = TimeSpan.FromMilliseconds(150); // waiters look every 50 to 100 ms
    private readonly long began = Stopwatch.GetTimestamp();
    private ulong looked, records, saved, damaged;

    /// <summary>Stored bytes that are packed between two times under the lock, all in memory.</summary>
    public int BytesAtOnce { get; init; } = 16 << 20;

    private StorePaths Paths => store.Paths;

    /// <summary>Runs to the end of what is committed now.</summary>
    public RecompressResult Run()
    {
        using var alone = HeldLock.Take(Paths.RecompressLock, "gc --recompress", $"gc --recompress of {Paths.Root}", store.Options.LockTimeout, store.Options.Waiting, cancel);
        var before = StoreSizes.DirectoryBytes(Paths.Database);

        // What a capture that is under way will commit under a lower CRID would never be looked at: up to there, then, and the rest another time.
        var end = SessionFile.Sweep(Paths, out _).Select(s => s.Crid).DefaultIfEmpty(new Crid(ulong.MaxValue)).Min();
        Pack(HardPacking.Frames, end);
        Pack(HardPacking.PatchGroups, end);
        return new RecompressResult(looked, records, saved, damaged, before, StoreSizes.DirectoryBytes(Paths.Database), Stopwatch.GetElapsedTime(began));
    }

    private void Pack(HardPacking what, Crid end)
    {
        var walk = new Walk(what, end, this);
        var touched = new List<byte[]>(); // keys, ascending
        long lookedAt = 0;
        for (var more = true; more;)
        {
            cancel.ThrowIfCancellationRequested();
            List<(byte[] Key, byte[] Value)> found;
            using (var reader = store.OpenReader()) found = walk.Next(reader.Database, BytesAtOnce, out more);
            var packed = new byte[]?[found.Count];
            AllCores.For(0, found.Count, i =>
            {
                cancel.ThrowIfCancellationRequested();
                packed[i] = TryPack(what, found[i].Key, found[i].Value);
            });
            looked += (ulong)found.Count;
            if (found.Count == 0 && touched.Count == 0) return;
            progress?.Report(new StoreProgress($"packing {what.Words} harder", looked, 0));
            FaultPoint.Hit("recompress.packed");
            Locked(db =>
            {
                Replace(db, what, found, packed, walk.Position, touched);
                lookedAt += found.Sum(f => (long)f.Value.Length); // what a compaction rewrites, however little of it was replaced
                FaultPoint.Hit("recompress.written");
                if (touched.Count == 0 || more && lookedAt < BytesPerCompaction) return;
                Compact(db, what.Family, touched[0], touched[^1]);
                FaultPoint.Hit("recompress.compacted");
                touched.Clear();
                lookedAt = 0;
            });
            if (more) Thread.Sleep(LetOthersIn);
        }
    }

    private byte[]? TryPack(HardPacking what, byte[] key, byte[] value)
    {
        try
        {
            return what.Pack(key, value);
        }
        catch (StoreDamagedException)
        {
            Interlocked.Increment(ref damaged);
            return null; // as it is, for verify to tell
        }
    }

    /// <summary>Puts what became smaller and says how far it came.</summary>
    private void Replace(RocksDb db, HardPacking what, List<(byte[] Key, byte[] Value)> found, byte[]?[] packed, FrameId position, List<byte[]> touched)
    {
        var batch = db.NewBatch();
        try
        {
            for (var i = 0; i < packed.Length; i++)
            {
                var (key, value) = found[i];
                if (packed[i] is not { } smaller || !IsStill(db, what.Family, key, value)) continue;
                batch.Put(what.Family, key, smaller);
                touched.Add(key);
                records++;
                saved += (ulong)(value.Length - smaller.Length);
                if (batch.BytesPut < BytesPerBatch) continue;
                db.Write(batch);
                batch.Dispose();
                batch = db.NewBatch();
            }

            StoreMeta.Put(batch, what.CridDone, position.Crid.Value);
            StoreMeta.Put(batch, what.NumberDone, position.Number);
            db.Write(batch);
        }
        finally
        {
            batch.Dispose();
        }
    }

    private static bool IsStill(RocksDb db, ColumnFamily family, byte[] key, byte[] value)
    {
        try
        {
            return db.Get(family, key) is { } now && now.AsSpan().SequenceEqual(value);
        }
        catch (StoreDamagedException)
        {
            return false;
        }
    }

    private void Compact(RocksDb db, ColumnFamily family, byte[] from, byte[] to)
    {
        try
        {
            db.Compact(family, from, to, rewriteBottom: true);
            Housekeeping.FlushAll(db);
        }
        catch (StoreDamagedException damage)
        {
            Warn($"a damaged table keeps its space: {damage.Message}");
        }
    }

    private void Warn(string what) => store.Options.Warning?.Invoke(what);

    private void Locked(Action<RocksDb> work)
    {
        using var access = WriteAccess.Take(store, "gc --recompress", toFree: false);
        work(access.Database);
        Housekeeping.Run(access.Database);
        DiskRoom.KeepReserve(Paths);
    }

    /// <summary>Goes through the records in key order, from where the last run ended, a piece at a time, each on a snapshot of its own: an old one would keep what was replaced.</summary>
    private sealed class Walk(HardPacking what, Crid end, Recompressor owner)
    {
        private Queue<Crid>? crids;

        /// <summary>Everything before it was looked at.</summary>
        public FrameId Position { get; private set; }

        public List<(byte[] Key, byte[] Value)> Next(RocksDb db, int mostBytes, out bool more)
        {
            crids ??= Begin(db);
            var found = new List<(byte[] Key, byte[] Value)>();
            long bytes = 0;
            while (crids.TryPeek(out var crid))
            {
                if (Position.Crid != crid) Position = new FrameId(crid, 0);
                try
                {
                    if (!Read(db, crid, found, ref bytes, mostBytes)) break;
                }
                catch (StoreDamagedException damage)
                {
                    owner.Warn($"the {what.Words} of CRID {crid} from {Position} on stay as they are: {damage.Message}");
                }

                crids.Dequeue();
                Position = new FrameId(new Crid(crid.Value + 1), 0);
            }

            more = crids.Count > 0;
            return found;
        }

        /// <returns>False if there is more of this CRID than there is room.</returns>
        private bool Read(RocksDb db, Crid crid, List<(byte[] Key, byte[] Value)> found, ref long bytes, int mostBytes)
        {
            var key = new byte[Keys.FrameSize];
            Keys.Frame(Position, key);
            using var i = db.Iterate(what.Family);
            for (var there = i.Seek(key); there && Keys.CridOf(i.Key) == crid; there = i.Next())
            {
                if (bytes >= mostBytes) return false;
                found.Add((i.Key.ToArray(), i.Value.ToArray()));
                bytes += i.Value.Length;
                Position = Keys.FrameOf(i.Key) with { Number = Keys.FrameOf(i.Key).Number + 1 };
            }

            return true;
        }

        private Queue<Crid> Begin(RocksDb db)
        {
            Position = new FrameId(new Crid(StoreMeta.Read(db, what.CridDone)), (uint)StoreMeta.Read(db, what.NumberDone));
            return new Queue<Crid>(CridScan.Of(db, what.Family, (_, _) => { }).Where(c => c.CompareTo(Position.Crid) >= 0 && c.CompareTo(end) < 0));
        }
    }
}
