using System.Diagnostics;
using Crstore.Model;
using Crstore.Store.Dictionaries;
using Crstore.Store.Frames;
using Crstore.Store.Layout;
using Crstore.Store.Native;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Packs frames and patch groups again, harder than a capture has the time for. Each stays under its key with its slots, so no page map and no
/// index entry moves, and each is replaced by one put: whoever reads finds the one or the other. Packing works on a snapshot, without a lock; under the write lock a
/// record is replaced only if it still is what was packed (gc may have taken pages out of it, or all of it away). How far it came is written with
/// what was replaced, so whatever cuts it short, the next run goes on there. Frames are packed with a dictionary of what comes again and again in all of them
/// (<see cref="Repetitions"/>), which is put with the first of them.
/// </summary>
internal sealed class Recompressor(CheckpointStore store, IProgress<StoreProgress>? progress, CancellationToken cancel)
{
    private const long BytesPerCompaction = 64 << 20; // looked at: what was replaced keeps its space until then, and a compaction rewrites all of it
    private const ulong BytesPerBatch = 8 << 20;
    private static readonly FrameId Never = new(new Crid(ulong.MaxValue), uint.MaxValue);
    private static readonly TimeSpan LetOthersIn = TimeSpan.FromMilliseconds(150); // waiters look every 50 to 100 ms
    private readonly long began = Stopwatch.GetTimestamp();
    private ulong looked, records, damaged;
    private long saved;
    private PackingDictionary? dictionary; // of the frames that are packed now; null if they have none
    private FrameId until, meantUntil; // it packs those before it; and what is noted of that with it

    /// <summary>Stored bytes that are packed between two times under the lock, all in memory.</summary>
    public int BytesAtOnce { get; init; } = 16 << 20;

    /// <summary>Bytes of pages for which one dictionary is made: as many as the largest one is good for.</summary>
    public long BytesPerDictionary { get; init; } = (long)DictionaryMaker.MostBytes * DictionaryMaker.Share;

    /// <summary>A smaller dictionary isn't worth it.</summary>
    public int LeastDictionaryBytes { get; init; } = 64 << 10;

    /// <summary>How often it tells its progress while it packs a piece.</summary>
    public TimeSpan BetweenReports { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>Dictionaries that were put.</summary>
    public int Dictionaries { get; private set; }

    private StorePaths Paths => store.Paths;

    /// <summary>Runs to the end of what is committed now.</summary>
    public RecompressResult Run()
    {
        using var alone = HeldLock.Take(Paths.RecompressLock, "gc --recompress", $"gc --recompress of {Paths.Root}", store.Options.LockTimeout, store.Options.Waiting, cancel);
        var before = StoreSizes.DirectoryBytes(Paths.Database);

        // What a capture that is under way will commit under a lower CRID would never be looked at: up to there, then, and the rest another time.
        var end = SessionFile.Sweep(Paths, out _).Select(s => s.Crid).DefaultIfEmpty(new Crid(ulong.MaxValue)).Min();
        try
        {
            Pack(HardPacking.Frames, end);
        }
        finally
        {
            dictionary?.Dispose();
            dictionary = null;
        }

        Pack(HardPacking.PatchGroups, end);
        return new RecompressResult(looked, records, (ulong)Math.Max(saved, 0), damaged, before, StoreSizes.DirectoryBytes(Paths.Database), Stopwatch.GetElapsedTime(began));
    }

    private void Pack(HardPacking what, Crid end)
    {
        var walk = new Walk(what, end, this);
        var touched = new List<byte[]>(); // keys, ascending
        long lookedAt = 0;
        for (var more = true; more;)
        {
            cancel.ThrowIfCancellationRequested();
            if (what == HardPacking.Frames && !IsBefore(walk.Position, until)) ChooseDictionary(end);
            List<(byte[] Key, byte[] Value)> found;
            using (var reader = store.OpenReader()) found = walk.Next(reader.Database, BytesAtOnce, out more);
            var packed = PackAll(what, found);
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
            GiveMemoryBack();
            if (more) Thread.Sleep(LetOthersIn);
        }
    }

    /// <summary>
    /// Looks through the frames that come next, for a dictionary: a new one, or the last one if it was made for them, or is as large as a new one could be. None for a few.
    /// </summary>
    private void ChooseDictionary(Crid end)
    {
        dictionary?.Dispose();
        dictionary = null;
        var content = FindContent(end, out var isNew);
        GiveMemoryBack(); // what counted takes as much as the tables will
        cancel.ThrowIfCancellationRequested();
        if (content is null) return;
        try
        {
            if (isNew) content.Pack(cancel, beside: MakeTables);
            else MakeTables();
        }
        catch (EntryPointNotFoundException missing)
        {
            Warn($"frames are packed each by itself, for this machine's libzstd can't pack with a dictionary: {missing.Message}");
            until = Never;
        }

        void MakeTables() => dictionary = new PackingDictionary(content);
    }

    private StoredDictionary? FindContent(Crid end, out bool isNew)
    {
        isNew = false;
        using var reader = store.OpenReader();
        var db = reader.Database;
        var number = StoreMeta.Read(db, StoreMeta.Dictionaries);
        var last = db.Dictionaries.Find(new DictionaryId(number)) is { Damage: null } whole ? whole : null;
        until = meantUntil = new FrameId(new Crid(StoreMeta.Read(db, StoreMeta.DictionaryUntilCrid)), (uint)StoreMeta.Read(db, StoreMeta.DictionaryUntilNumber));
        if (last is not null && IsBefore(Done(db, HardPacking.Frames), until)) return last; // the run that made it was cut short
        var walk = new Walk(HardPacking.Frames, end, this);
        var seen = new Repetitions(Math.Min(BytesPerDictionary, 8 * (long)StoreSizes.Of(db, ColumnFamily.Chunks))); // pages hardly ever shrink to less
        long bytes = 0, frames = 0;
        var more = true;
        while (more && bytes < BytesPerDictionary)
        {
            cancel.ThrowIfCancellationRequested();
            var found = walk.Next(db, BytesAtOnce, out more);
            bytes += DictionaryMaker.Count(db, found, seen, cancel);
            frames += found.Count;
            GiveMemoryBack();
            if (more) progress?.Report(new StoreProgress("looking for what comes again in frames", (ulong)frames, 0));
        }

        meantUntil = walk.Position;
        until = more ? meantUntil : Never; // what is committed meanwhile is packed with it too
        if (bytes < LeastDictionaryBytes) return null;
        progress?.Report(new StoreProgress("making a dictionary of it", 0, 0));
        if (last is not null && (long)last.Size * DictionaryMaker.Share >= bytes) return last;
        isNew = true;
        return DictionaryMaker.Make(db, new DictionaryId(number + 1), seen, bytes, LeastDictionaryBytes);
    }

    private static FrameId Done(RocksDb db, HardPacking what) => new(new Crid(StoreMeta.Read(db, what.CridDone)), (uint)StoreMeta.Read(db, what.NumberDone));

    private static bool IsBefore(FrameId a, FrameId b) => a.Crid.CompareTo(b.Crid) is var order && (order == 0 ? a.Number < b.Number : order < 0);

    // The runtime would keep all that pieces leave behind for the next ones, beside tables that it knows nothing of: 100 MiB more for some ms of each piece's seconds.
    private static void GiveMemoryBack() => GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);

    private byte[]?[] PackAll(HardPacking what, List<(byte[] Key, byte[] Value)> found)
    {
        var packed = new byte[]?[found.Count];
        var (caller, reported, done) = (Environment.CurrentManagedThreadId, Stopwatch.GetTimestamp(), 0);
        AllCores.For(0, found.Count, i =>
        {
            cancel.ThrowIfCancellationRequested();
            packed[i] = TryPack(what, found[i].Key, found[i].Value);
            var sofar = Interlocked.Increment(ref done);
            if (Environment.CurrentManagedThreadId != caller || Stopwatch.GetElapsedTime(reported) < BetweenReports) return;
            progress?.Report(new StoreProgress($"packing {what.Words} harder", looked + (ulong)sofar, 0));
            reported = Stopwatch.GetTimestamp();
        });
        return packed;
    }

    private byte[]? TryPack(HardPacking what, byte[] key, byte[] value)
    {
        try
        {
            return what.Pack(key, value, dictionary);
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
        var user = default(Crid); // in this batch
        var isThere = false; // the dictionary
        try
        {
            for (var i = 0; i < packed.Length; i++)
            {
                var (key, value) = found[i];
                if (packed[i] is not { } smaller || !IsStill(db, what.Family, key, value)) continue;
                if (what == HardPacking.Frames && dictionary is not null && user != Keys.CridOf(key)) PutUse(db, batch, user = Keys.CridOf(key), ref isThere);
                batch.Put(what.Family, key, smaller);
                touched.Add(key);
                records++;
                saved += value.Length - smaller.Length;
                if (batch.BytesPut < BytesPerBatch) continue;
                db.Write(batch);
                batch.Dispose();
                (batch, user) = (db.NewBatch(), default);
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

    /// <summary>
    /// In the batch that puts the CRID's frames, so that none is ever without its dictionary. A gc beside this may have taken the dictionary with all that needed it.
    /// </summary>
    /// <exception cref="StoreDamagedException">The store's is not the one that they were packed with.</exception>
    private void PutUse(RocksDb db, RocksWriteBatch batch, Crid user, ref bool isThere)
    {
        var content = dictionary!.Content;
        if (!isThere)
        {
            isThere = true;
            if (db.Dictionaries.Find(content.Id) is not { } there)
            {
                saved -= content.Put(batch);
                StoreMeta.Put(batch, StoreMeta.Dictionaries, content.Id.Value);
                StoreMeta.Put(batch, StoreMeta.DictionaryUntilCrid, meantUntil.Crid.Value);
                StoreMeta.Put(batch, StoreMeta.DictionaryUntilNumber, meantUntil.Number);
                Dictionaries++;
            }
            else if (!there.IsSame(content))
            {
                throw new StoreDamagedException(there.Damage ?? $"{content.Id}: another one has its number");
            }
        }

        DictionaryUses.Put(batch, content.Id, user);
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
            Position = Done(db, what);
            return new Queue<Crid>(CridScan.Of(db, what.Family, (_, _) => { }).Where(c => c.CompareTo(Position.Crid) >= 0 && c.CompareTo(end) < 0));
        }
    }
}
