using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;

namespace Crstore.Store.Maintenance;

/// <summary>
/// The first look of a gc: what nothing reaches now. Its index entries are dropped, so that no session that begins from
/// now on can find it; it is freed only if a second look, after all older sessions are over, finds it unreached again.
/// </summary>
internal sealed class Condemned
{
    private const int EntriesPerBatch = 10_000;

    private readonly bool _again;

    private Condemned(Reachability live, bool again) => (Live, _again) = (live, again);

    /// <summary>What was reached at the first look.</summary>
    public Reachability Live { get; }

    /// <summary>Sessions that began under this generation can't find what is condemned.</summary>
    public ulong Generation { get; private set; }

    /// <summary>The count of forgets at the first look.</summary>
    public ulong Forgets { get; private set; }

    /// <summary>Chunks whose index entry was dropped as they were unreached, at this look or at one that a forget made void.</summary>
    public ChunkMarks Chunks { get; } = new();

    /// <summary>Entries of the index before.</summary>
    public ulong IndexEntries { get; private set; }

    /// <summary>The CRIDs that had frames or patch groups. A capture that commits later is none of them.</summary>
    public IReadOnlyList<Crid> WithChunks { get; private set; } = [];

    /// <summary>CRIDs whose first frame or patch group can't be read, if they have any: nothing of them is freed.</summary>
    public IReadOnlyDictionary<Crid, string> Unreadable { get; private set; } = new Dictionary<Crid, string>();

    /// <summary>Unreached segments.</summary>
    public List<SegmentKey> Segments { get; } = [];

    /// <summary>Roots of checkpoints that are not committed.</summary>
    public List<(Crid Crid, SpaceId Space)> Roots { get; } = [];

    /// <summary>Commits that owe their index entries: this gc restores them.</summary>
    public ulong IndexOwed { get; private set; }

    /// <summary>A gc before this one did not finish, or a commit owes its index entries: there may be dead chunks without one, and live ones too.</summary>
    public bool Thorough { get; private set; }

    /// <summary>True if there is nothing to free, and nothing that an earlier look of this gc dropped to put back.</summary>
    public bool IsEmpty => !Thorough && !_again && Chunks.Count == 0 && Segments.Count == 0 && Roots.Count == 0 && WithChunks.All(Live.Chunks.Any);

    /// <summary>Looks; changes nothing.</summary>
    public static Condemned Look(RocksDb db, IProgress<StoreProgress>? progress, CancellationToken cancel) => Look(db, null, null, progress, cancel);

    /// <summary>Looks, drops the index entries and begins a new generation. The caller holds the write lock.</summary>
    /// <param name="db">The store.</param>
    /// <param name="before">The first look of this same gc, which forgets in between have made void; null at the first time.</param>
    /// <param name="progress">Told.</param>
    /// <param name="cancel">Asked.</param>
    public static Condemned LookAndDrop(RocksDb db, Condemned? before, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        using var drop = new IndexDrop(db);
        var condemned = Look(db, before, drop, progress, cancel);
        FaultPoint.Hit("gc.marked");
        if (condemned.IsEmpty) return condemned;

        // Begun twice: already the first entry that is dropped leaves a trace, should this gc not live to the end.
        condemned.Generation = drop.Finish();
        FaultPoint.Hit("gc.index-dropped");
        return condemned;
    }

    private static Condemned Look(RocksDb db, Condemned? before, IndexDrop? drop, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        // That the generation is ahead because of the look before says nothing: what that one dropped is known.
        var generation = StoreMeta.Read(db, StoreMeta.GcGeneration);
        var thorough = before?.Generation == generation ? before.Thorough : generation > StoreMeta.Read(db, StoreMeta.GcDone);
        var owed = StoreMeta.Read(db, StoreMeta.IndexOwed);
        var unreadable = new SortedDictionary<Crid, string>();
        void PassOver(Crid crid, StoreDamagedException e) => unreadable[crid] = e.Message;
        var condemned = new Condemned(Reachability.Mark(db, progress, cancel), again: before is not null)
        {
            Forgets = StoreMeta.Read(db, StoreMeta.Forgets),
            IndexOwed = owed,
            Thorough = thorough || owed > 0,
            WithChunks = [.. CridScan.Of(db, ColumnFamily.Chunks, PassOver).Union(CridScan.Of(db, ColumnFamily.Patches, PassOver)).Except(unreadable.Keys).Order()],
            Unreadable = unreadable,
        };
        condemned.LookAtMaps(db, cancel);
        condemned.LookAtIndex(db, drop, progress, cancel);
        if (before is null) return condemned;
        condemned.Chunks.Add(before.Chunks);
        condemned.IndexEntries = Math.Max(condemned.IndexEntries, before.IndexEntries);
        return condemned;
    }

    private void LookAtMaps(RocksDb db, CancellationToken cancel)
    {
        using var i = db.Iterate(ColumnFamily.Maps);
        for (var there = i.SeekToFirst(); there; there = i.Next())
        {
            cancel.ThrowIfCancellationRequested();
            var (crid, space, segment) = MapScan.Split(i.Key);
            if (segment is not { } number)
            {
                if (!Live.Committed.Contains(crid)) Roots.Add((crid, space));
            }
            else if (!Live.Keeps(new SegmentKey(crid, space, number)))
            {
                Segments.Add(new SegmentKey(crid, space, number));
            }
        }
    }

    private void LookAtIndex(RocksDb db, IndexDrop? drop, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        using var i = db.Iterate(ColumnFamily.Index);
        for (var there = i.SeekToFirst(); there; there = i.Next())
        {
            if (IndexEntries++ % 4096 == 0)
            {
                cancel.ThrowIfCancellationRequested();
                progress?.Report(new StoreProgress("looking at the index", IndexEntries, 0));
            }

            var chunk = Keys.LocationOf(i.Value);
            if (Live.Chunks.Contains(chunk)) continue;
            Chunks.Add(chunk);
            drop?.Add(i.Key);
        }
    }

    /// <summary>Drops index entries in batches, each durable.</summary>
    private sealed class IndexDrop(RocksDb db) : IDisposable
    {
        private RocksWriteBatch _batch = db.NewBatch();
        private bool _begun;

        public void Add(ReadOnlySpan<byte> key)
        {
            _batch.Delete(ColumnFamily.Index, key);
            if (_batch.Count >= EntriesPerBatch) Write();
        }

        public ulong Finish()
        {
            if (!_begun) Begin();
            var generation = Begin();
            Write();
            return generation;
        }

        public void Dispose() => _batch.Dispose();

        private ulong Begin()
        {
            _begun = true;
            var generation = StoreMeta.Read(db, StoreMeta.GcGeneration) + 1;
            StoreMeta.Put(_batch, StoreMeta.GcGeneration, generation);
            return generation;
        }

        private void Write()
        {
            if (!_begun) Begin();
            db.Write(_batch);
            _batch.Dispose();
            _batch = db.NewBatch();
        }
    }
}
