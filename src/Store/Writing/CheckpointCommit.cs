using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Layout;
using Crstore.Store.Manifests;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;

namespace Crstore.Store.Writing;

/// <summary>
/// The one atomic step that makes a checkpoint of what a capture has packed, with the store open for writing, and what follows it there. Before it, all of that is files that nobody
/// looks at; behind it, it is committed whatever goes wrong.
/// </summary>
/// <param name="checkpoint">What is committed.</param>
/// <param name="sink">Has packed its pages: it is complete.</param>
/// <param name="index">Of the pages; may still be under way.</param>
/// <param name="maps">Its page maps.</param>
/// <param name="manifest">Everything else of it.</param>
internal sealed class CheckpointCommit(NewCheckpoint checkpoint, ChunkSink sink, FreshIndex index, List<(SpaceId Id, PageMapResult Map)> maps, CheckpointManifest manifest)
{
    private readonly CheckpointStore store = checkpoint.Store;
    private readonly CheckpointHeader header = manifest.Header;
    private readonly CheckpointBody body = manifest.Body;

    /// <summary>A tracker that was caught lying, for the series' record.</summary>
    public TrackerKind? Distrust { get; init; }

    /// <summary>Called with the header right before it is written: the last that can be said in it.</summary>
    public Action<CheckpointHeader>? Finalize { get; init; }

    /// <summary>Puts what the store knows better than the caller into the manifest, before anything is written.</summary>
    /// <param name="moved">Pages that are only stored in another place.</param>
    /// <exception cref="EnvironmentException">The manifest could not be read back.</exception>
    public void Fill(ulong moved)
    {
        header.Crid = body.Crid = checkpoint.Crid.Value;
        header.ParentCrid = checkpoint.Parent.Value;
        header.Series = checkpoint.Series;
        header.Kind = checkpoint.Parent.IsSome ? CheckpointKind.Increment : CheckpointKind.Base;
        var pages = header.Pages ??= new PageCounters();
        pages.Logical = pages.Changed = 0;
        foreach (var (_, map) in maps)
        {
            pages.Logical += map.Counters.Logical;
            pages.Changed += map.Counters.Changed;
        }

        pages.Changed -= Math.Min(pages.Changed, moved);
        pages.Fresh = sink.NewChunks;
        if (!checkpoint.Adopted) pages.Zero = sink.Zero;
        if (pages.Dirty == 0) pages.Dirty = sink.Read;
        ManifestCodec.EncodeBody(body);
    }

    /// <summary>Commits, and tidies up.</summary>
    /// <param name="access">Open for writing. Told if it may stay so.</param>
    public void Run(WriteAccess access)
    {
        var db = access.Database;
        CheckPlace(db);
        CheckGeneration(db);
        checkpoint.Clock.Enter("write");
        if (!checkpoint.Adopted)
        {
            body.Phases.Clear();
            body.Phases.AddRange(checkpoint.Clock.Report()); // of the rest it can't tell
        }

        var stored = Write(db, ManifestCodec.EncodeBody(body));
        if (!access.IsInPlace)
            throw new StoreDamagedException($"CRID {checkpoint.Crid} is not in {store.Paths.Root}: the store that it was written to has been removed, or moved");
        Remember(stored);
        var whole = index.Ingest(db);
        FaultPoint.Hit("commit.index-ingested");
        checkpoint.Clock.Enter("tidy up");
        whole &= TidyUp(db);
        DiskRoom.KeepReserve(store.Paths);
        FaultPoint.Hit("commit.maintained");
        if (whole) access.Done();
        checkpoint.Clock.Enter("close");
    }

    /// <summary>It is the store that this session has looked at. Somebody may have removed that and made another one in its place.</summary>
    private void CheckPlace(RocksDb db)
    {
        if (StoreMeta.StoreId(db) != store.Id)
            throw new StoreBusyException($"CRID {checkpoint.Crid} can't be committed: the store {store.Paths.Root} is not the one that it began in any more", "capture again");
    }

    /// <summary>gc waits for live sessions, so this never fails unless somebody removed the session file or the locks don't work here.</summary>
    private void CheckGeneration(RocksDb db)
    {
        var (crid, own) = (checkpoint.Crid, checkpoint.Own);
        var freed = StoreMeta.Read(db, StoreMeta.GcFreed);
        if (freed > checkpoint.Generation)
            throw new StoreBusyException($"CRID {crid} can't be committed: gc freed chunks that it may count on (generation {freed}, begun under {checkpoint.Generation})",
                "capture again; does the file system of the store support flock?");
        if (db.Get(ColumnFamily.Manifests, Keys.Crid(crid)) is not null)
            throw new StoreDamagedException($"CRID {crid} is committed already: the CRID counter went back");
        foreach (var (family, used) in new[] { (ColumnFamily.Chunks, own), (ColumnFamily.Patches, own), (ColumnFamily.Maps, crid), (ColumnFamily.Bodies, crid) })
        {
            // A forgotten CRID's chunks and segments live on in others: new ones under the same keys would replace them.
            using var i = db.Iterate(family);
            if (i.Seek(Keys.Crid(used)) && Keys.CridOf(i.Key) == used)
                throw new StoreDamagedException($"CRID {used} was given out before, the store has {family.ToString().ToLowerInvariant()} of it: the CRID counter went back");
        }
    }

    /// <returns>The header as it is stored.</returns>
    private byte[] Write(RocksDb db, byte[] bodyBytes)
    {
        AllCores.For(0, 2, i => db.Ingest(i == 0 ? ColumnFamily.Chunks : ColumnFamily.Patches, (i == 0 ? sink.Frames : sink.Patches).Files)); // each waits for syncs
        FaultPoint.Hit("commit.frames-ingested");
        var indexBytes = index.Complete();
        using var batch = db.NewBatch();
        PutSmall(batch, sink.Frames);
        PutSmall(batch, sink.Patches);
        index.Put(db, batch);
        PutMaps(batch);
        batch.Put(ColumnFamily.Bodies, Keys.Crid(checkpoint.Crid), bodyBytes);
        PutSeries(db, batch);
        StoreMeta.Put(batch, StoreMeta.HighestCrid, Math.Max(checkpoint.Own.Value, StoreMeta.Read(db, StoreMeta.HighestCrid)));
        Finalize?.Invoke(header);
        header.BytesStored = batch.BytesPut + indexBytes + InFiles(sink.Frames) + InFiles(sink.Patches);
        header.BytesStored += (ulong)header.CalculateSize();
        var stored = ManifestCodec.EncodeHeader(header);
        batch.Put(ColumnFamily.Manifests, Keys.Crid(checkpoint.Crid), stored);
        FaultPoint.Hit("commit.before-write");
        db.Write(batch);
        FaultPoint.Hit("commit.written");
        return stored;
    }

    private void Remember(byte[] stored)
    {
        if (store.Keeper?.Known is not { } known) return;
        foreach (var (_, map) in maps)
            foreach (var segment in map.Contents) known.Segments.Replace(segment);
        known.Committed(store.Id, checkpoint.Crid, stored); // CheckPlace has seen that it is that one
    }

    /// <summary>The checkpoint is committed: nothing that goes wrong from here on may call it failed.</summary>
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

    private static ulong InFiles(RecordSpool spool) => spool.Files.Count > 0 ? spool.BytesPut : 0;

    private static void PutSmall(RocksWriteBatch batch, RecordSpool spool)
    {
        foreach (var (key, value) in spool.Small) batch.Put(spool.Family, key, value);
    }

    private void PutMaps(RocksWriteBatch batch)
    {
        Span<byte> key = stackalloc byte[Keys.SegmentSize];
        foreach (var (id, map) in maps)
        {
            batch.Put(ColumnFamily.Maps, Keys.Root(checkpoint.Crid, id), map.Root);
            foreach (var segment in map.Segments)
            {
                Keys.Segment(checkpoint.Crid, id, segment.Number, key);
                batch.Put(ColumnFamily.Maps, key, segment.Bytes);
            }
        }
    }

    private void PutSeries(RocksDb db, RocksWriteBatch batch)
    {
        var record = SeriesRecords.Read(db, checkpoint.Series) ?? new SeriesRecord { Name = checkpoint.Series };
        record.LatestCrid = Math.Max(record.LatestCrid, checkpoint.Crid.Value); // one without a parent may overtake what is still written back
        if (Distrust is { } caught && !record.Distrusted.Contains(caught)) record.Distrusted.Add(caught);
        SeriesRecords.Put(batch, record);
    }
}
