using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.InMemory;
using Crstore.Store.Layout;
using Crstore.Store.Manifests;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Store.Pending;
using Crstore.Store.Reading;
using Crstore.Store.Writing;

namespace Crstore.Store;

/// <summary>
/// A capture's side of the store, from the durable CRID to the one atomic commit. Everything before the commit works on a
/// read-only snapshot and on files in incoming/ that nobody else looks at; the write lock is held for the commit alone.
/// </summary>
internal sealed class CheckpointWriter : ICheckpointWriter
{
    private const int IndexFileKeys = 1 << 16; // below, a second file isn't worth its place in level 0
    private readonly CheckpointStore store;
    private readonly StorePaths paths;
    private readonly StoreOptions options;
    private readonly string series;
    private readonly HeldLock? seriesLock;
    private readonly Crid own; // under which it stores pages
    private readonly Adoption? adoption;
    private readonly SessionFile session;
    private readonly StoreReader snapshot;
    private readonly WriteAccess? held; // the snapshot is what the keeper has open for writing: nobody else changes it
    private readonly ulong generation;
    private readonly ChunkSink sink;
    private readonly ChunkLookup chunks;
    private readonly SortedDictionary<uint, SpaceWriter> spaces = [];
    private readonly List<string> indexFiles = [];
    private EarlyOpening? approaching;
    private bool ended;
    private bool disposed;

    private CheckpointWriter(CheckpointStore store, string series, bool full, HeldLock? seriesLock, Crid crid, SessionFile session, StoreReader snapshot, WriteAccess? kept, Crid? parent, PhaseClock clock, Adoption? adoption)
    {
        (this.store, paths, options, this.series, this.seriesLock, own, this.session, this.snapshot, held, Clock, this.adoption) =
            (store, store.Paths, store.Options, series, seriesLock, crid, session, snapshot, kept, clock, adoption);
        Crid = adoption?.Crid ?? crid;
        clock.Enter("parent");
        generation = StoreMeta.Read(snapshot.Database, StoreMeta.GcGeneration);
        session.Began(generation);
        var record = SeriesRecords.Read(snapshot.Database, series);
        DistrustedTrackers = record?.Distrusted.ToHashSet() ?? [];
        var latest = adoption is null ? parent ?? new Crid(record?.LatestCrid ?? 0) : adoption.ParentIn(snapshot, series);
        if (!full && latest.IsSome && snapshot.Header(latest) is not null) Parent = snapshot.Manifest(latest);
        chunks = kept?.Chunks ?? new ChunkLookup(snapshot.Database);
        if (store.Keeper?.Known is { } known)
        {
            known.Begin(snapshot.Database);
            snapshot.Segments.Kept = known.Segments;
        }

        sink = new ChunkSink(paths, own, snapshot.Database, chunks, options, store.Keeper);
        clock.Stop();
    }

    /// <inheritdoc/>
    public Crid Crid { get; }

    /// <inheritdoc/>
    public Guid StoreId => store.Id;

    /// <inheritdoc/>
    public PhaseClock Clock { get; }

    /// <inheritdoc/>
    public CheckpointManifest? Parent { get; }

    /// <inheritdoc/>
    public IReadOnlySet<TrackerKind> DistrustedTrackers { get; }

    /// <inheritdoc/>
    public PageCounters Counters
    {
        get
        {
            if (!ended && !sink.Failed) sink.Flush();
            return new() { Dirty = sink.Read, Zero = sink.Zero, Fresh = sink.NewChunks };
        }
    }

    /// <summary>Locks the series, makes a CRID durable, registers the session, and only then looks at the store.</summary>
    public static CheckpointWriter Begin(CheckpointStore store, string series, bool full)
    {
        SeriesRecords.CheckName(series);
        var (paths, options) = (store.Paths, store.Options);
        var clock = new PhaseClock();
        clock.Enter("series");
        var kept = store.Keeper?.Use();
        HeldLock? seriesLock = null;
        SessionFile? session = null;
        try
        {
            // With the store open no lock is waited for: who has the series may be waiting for the store, as may those that are written back.
            var patient = kept is null ? options : options with { LockTimeout = TimeSpan.Zero };
            seriesLock = HeldLock.Take(paths.SeriesLock(series), "capture", $"series \"{series}\"", patient.LockTimeout, options.Waiting, options.Cancel);
            PendingFiles.AwaitSeries(paths, patient, series);
            (var crid, session) = Register(store, clock);
            return Over(store, series, full, seriesLock, crid, session, clock, kept: kept);
        }
        catch
        {
            kept?.Dispose();
            session?.Dispose();
            seriesLock?.Dispose();
            throw;
        }
    }

    /// <summary>Makes a CRID durable, and registers its session.</summary>
    public static (Crid Crid, SessionFile Session) Register(CheckpointStore store, PhaseClock clock)
    {
        clock.Enter("crid");
        var counted = store.CountedIn;
        var crid = CridCounter.Next(counted, store.Options.LockTimeout, () => HighestCrid.Find(counted));
        FaultPoint.Hit("capture.crid-allocated");
        clock.Enter("session");
        var session = SessionFile.Register(store.Paths, crid);
        FaultPoint.Hit("capture.registered");
        return (crid, session);
    }

    /// <summary>
    /// The writer of a session that is registered: looks at the store as it is now. It takes over lock, session and what is kept open if this succeeds.
    /// </summary>
    /// <param name="store">The store.</param>
    /// <param name="series">The series.</param>
    /// <param name="full">Without a parent.</param>
    /// <param name="seriesLock">Of the series; may be released by now.</param>
    /// <param name="crid">The session's.</param>
    /// <param name="session">It.</param>
    /// <param name="clock">Times the capture.</param>
    /// <param name="parent">If it must be that one; null: the latest of the series.</param>
    /// <param name="kept">What the keeper has open.</param>
    /// <param name="adoption">The checkpoint, if it was captured into another store.</param>
    public static CheckpointWriter Over(CheckpointStore store, string series, bool full, HeldLock? seriesLock, Crid crid, SessionFile session, PhaseClock clock,
        Crid? parent = null, WriteAccess? kept = null, Adoption? adoption = null)
    {
        clock.Enter("open to read");
        var snapshot = kept is null ? StoreReader.Open(store.Paths) : StoreReader.Over(store.Paths, kept.Database);
        try
        {
            return new CheckpointWriter(store, series, full, seriesLock, crid, session, snapshot, kept, parent, clock, adoption);
        }
        catch
        {
            snapshot.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public ISpaceWriter OpenSpace(SpaceId id, SpaceId? parentSpace)
    {
        ThrowIfEnded();
        if (spaces.ContainsKey(id.Value)) throw new ArgumentException($"space {id} is open already", nameof(id));
        PageMap? parent = null;
        if (parentSpace is { } p)
        {
            if (Parent is null) throw new ArgumentException("there is no parent", nameof(parentSpace));
            parent = snapshot.Segments.Open(Parent.Crid, p) ?? throw new StoreDamagedException($"CRID {Parent.Crid}, space {p}: its page-map root is missing");
        }

        var space = new SpaceWriter(Crid, id, parent, sink, chunks);
        spaces.Add(id.Value, space);
        return space;
    }

    /// <inheritdoc/>
    public void Approach()
    {
        ThrowIfEnded();
        approaching ??= StoreErrors.Guard(TryOpenEarly);
    }

    /// <inheritdoc/>
    public CheckpointHeader Commit(CheckpointManifest manifest, TrackerKind? distrust = null, Action<CheckpointHeader>? finalize = null)
    {
        ThrowIfEnded();
        ended = true;
        return StoreErrors.Guard(() =>
        {
            Clock.Enter("hash");
            using var early = approaching ?? TryOpenEarly();
            approaching = null;
            // Once all pages are hashed, the last of them are still being compressed.
            sink.Flush();
            Clock.Enter("pack");
            var named = manifest.Body.Processes.Where(p => !p.Zombie).Select(p => p.Space).ToHashSet();
            var kept = spaces.Values.Where(s => named.Contains(s.Id.Value)).ToList();
            var moved = new PatchCleaner(snapshot.Database, sink).Run(kept);
            // Beside the last frames, and the syncs of their files.
            var building = Task.Factory.StartNew(() => kept.ConvertAll(s => (s.Id, Map: s.Build())), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            var index = Task.Run(BuildIndexFiles);
            try
            {
                Store(manifest, building, moved, index, early, distrust, finalize);
            }
            finally
            {
                Task.WaitAny(building);
                Task.WaitAny(index); // also when this fails: its files are to be removed
            }

            FaultPoint.Hit("commit.closed");
            Clock.Stop();
            return manifest.Header;
        });
    }

    /// <summary>From the last frame to the commit and what follows it. The index is built beside what waits for syncs, and is complete before the commit.</summary>
    private void Store(CheckpointManifest manifest, Task<List<(SpaceId Id, PageMapResult Map)>> building, ulong moved, Task<ulong> index, EarlyOpening? early, TrackerKind? distrust, Action<CheckpointHeader>? finalize)
    {
        sink.Complete();
        var maps = building.GetAwaiter().GetResult();
        var header = manifest.Header;
        var body = manifest.Body;
        Fill(header, body, maps, moved);
        ManifestCodec.EncodeBody(body); // refuses what could not be read back, before anything is written
        // Nobody shall wait for that; and where it finds no room, no frames shall be left in the store that are only garbage.
        if (early is null && (held is null || !DiskRoom.IsPlenty(paths))) index.GetAwaiter().GetResult();
        using var late = held is null && early is null ? Open() : null;
        var access = held ?? (early ?? late)!.Await(Clock);
        try
        {
            FaultPoint.Hit("commit.opened");
            var db = access.Database;
            if (held is not null) DiskRoom.EnsureOpen(paths, toFree: false);
            CheckPlace(db);
            CheckGeneration(db);
            Clock.Enter("write");
            if (adoption is null)
            {
                body.Phases.Clear();
                body.Phases.AddRange(Clock.Report()); // of the rest it can't tell
            }

            var stored = Write(db, header, ManifestCodec.EncodeBody(body), maps, index, distrust, finalize);
            if (!access.IsInPlace)
                throw new StoreDamagedException($"CRID {Crid} is not in {paths.Root}: the store that it was written to has been removed, or moved");
            Remember(stored, maps);
            var whole = IngestIndex(db);
            FaultPoint.Hit("commit.index-ingested");
            Clock.Enter("tidy up");
            whole &= TidyUp(db);
            DiskRoom.KeepReserve(paths);
            FaultPoint.Hit("commit.maintained");
            if (whole) access.Done();
            Clock.Enter("close");
        }
        finally
        {
            if (access != held) access.Dispose();
        }
    }

    /// <summary>
    /// Others wait for the write lock no longer than a moment more, as what is left to be packed is little; and what is written meanwhile doesn't take the
    /// room that RocksDB needs to open.
    /// </summary>
    private EarlyOpening? TryOpenEarly() =>
        held is null && store.Keeper is null && sink.Fresh.Count <= options.IndexFileEntries && DiskRoom.IsPlenty(paths) ? Open() : null;

    private EarlyOpening Open() => EarlyOpening.Begin(store, string.Create(CultureInfo.InvariantCulture, $"capture of CRID {Crid}"), () =>
    {
        FaultPoint.Hit("commit.locked");
        SessionFile.Sweep(paths, out _);
    });

    /// <inheritdoc/>
    public void Dispose()
    {
        if (disposed) return;
        try
        {
            Release();
        }
        finally
        {
            session.Dispose();
            seriesLock?.Dispose();
        }
    }

    /// <summary>Ends without the session and the lock, which go back to whoever gave them.</summary>
    public void Release()
    {
        disposed = ended = true;
        try
        {
            approaching?.Dispose();
            sink.Dispose();
            foreach (var file in indexFiles) FileCalls.Unlink(file);
        }
        catch (LinuxException e)
        {
            // It must not hide the error that brought us here; the next commit's sweep removes the files.
            System.Diagnostics.Debug.WriteLine(e.Message);
        }
        finally
        {
            snapshot.Dispose();
            held?.Dispose();
        }
    }

    /// <summary>What the store knows better than the caller.</summary>
    private void Fill(CheckpointHeader header, CheckpointBody body, List<(SpaceId Id, PageMapResult Map)> maps, ulong moved)
    {
        header.Crid = body.Crid = Crid.Value;
        header.ParentCrid = Parent?.Crid.Value ?? 0;
        header.Series = series;
        header.Kind = Parent is null ? CheckpointKind.Base : CheckpointKind.Increment;
        var pages = header.Pages ??= new PageCounters();
        pages.Logical = pages.Changed = 0;
        foreach (var (_, map) in maps)
        {
            pages.Logical += map.Counters.Logical;
            pages.Changed += map.Counters.Changed;
        }

        pages.Changed -= Math.Min(pages.Changed, moved); // they only lie in another place
        pages.Fresh = sink.NewChunks;
        if (adoption is null) pages.Zero = sink.Zero;
        if (pages.Dirty == 0) pages.Dirty = sink.Read;
    }

    /// <summary>Large index updates are sorted into SSTs, before the lock is taken; returns the bytes in them.</summary>
    private ulong BuildIndexFiles()
    {
        if (sink.Fresh.Count <= options.SmallCapturePages) return 0;
        sink.Fresh.CloseTable();
        var count = Math.Clamp((int)(sink.Fresh.Count / IndexFileKeys), 1, Environment.ProcessorCount);
        count = Math.Max(count, (int)((sink.Fresh.Count + options.IndexFileEntries - 1) / options.IndexFileEntries));
        var bytes = 0UL;
        AllCores.For(0, count, i => Interlocked.Add(ref bytes, BuildIndexFile(paths.IncomingFile(own, "index", i), sink.Fresh.Sorted(i, count))));
        return bytes;
    }

    private ulong BuildIndexFile(string path, SortedChunks chunks)
    {
        if (chunks.Count == 0) return 0; // a table file without a key is none
        lock (indexFiles) indexFiles.Add(path);
        using var writer = new RocksSstWriter(path, ColumnFamily.Index);
        Span<byte> key = stackalloc byte[ContentHash.Size];
        Span<byte> value = stackalloc byte[Keys.LocationSize];
        for (var i = 0; i < chunks.Count; i++)
        {
            chunks.HashAt(i).Write(key);
            Keys.Location(sink.LocationOf(chunks.NumberAt(i)), value);
            writer.Put(key, value);
        }

        writer.Finish();
        return writer.BytesPut;
    }

    /// <summary>It is the store that this session has looked at. Somebody may have removed that and made another one in its place.</summary>
    private void CheckPlace(RocksDb db)
    {
        if (StoreMeta.StoreId(db) != StoreId)
            throw new StoreBusyException($"CRID {Crid} can't be committed: the store {paths.Root} is not the one that it began in any more", "capture again");
    }

    /// <summary>gc waits for live sessions, so this never fails unless somebody removed the session file or the locks don't work here.</summary>
    private void CheckGeneration(RocksDb db)
    {
        var freed = StoreMeta.Read(db, StoreMeta.GcFreed);
        if (freed > generation)
            throw new StoreBusyException($"CRID {Crid} can't be committed: gc freed chunks that it may count on (generation {freed}, begun under {generation})",
                "capture again; does the file system of the store support flock?");
        if (db.Get(ColumnFamily.Manifests, Keys.Crid(Crid)) is not null)
            throw new StoreDamagedException($"CRID {Crid} is committed already: the CRID counter went back");
        foreach (var (family, crid) in new[] { (ColumnFamily.Chunks, own), (ColumnFamily.Patches, own), (ColumnFamily.Maps, Crid), (ColumnFamily.Bodies, Crid) })
        {
            // A forgotten CRID's chunks and segments live on in others: new ones under the same keys would replace them.
            using var i = db.Iterate(family);
            if (i.Seek(Keys.Crid(crid)) && Keys.CridOf(i.Key) == crid)
                throw new StoreDamagedException($"CRID {crid} was given out before, the store has {family.ToString().ToLowerInvariant()} of it: the CRID counter went back");
        }
    }

    private byte[] Write(RocksDb db, CheckpointHeader header, byte[] bodyBytes, List<(SpaceId Id, PageMapResult Map)> maps,
        Task<ulong> index, TrackerKind? distrust, Action<CheckpointHeader>? finalize)
    {
        AllCores.For(0, 2, i => db.Ingest(i == 0 ? ColumnFamily.Chunks : ColumnFamily.Patches, (i == 0 ? sink.Frames : sink.Patches).Files)); // each waits for syncs
        FaultPoint.Hit("commit.frames-ingested");
        var indexBytes = index.GetAwaiter().GetResult();
        using var batch = db.NewBatch();
        PutSmall(batch, sink.Frames);
        PutSmall(batch, sink.Patches);
        if (indexFiles.Count == 0) PutIndex(batch);
        else StoreMeta.Put(batch, StoreMeta.IndexOwed, StoreMeta.Read(db, StoreMeta.IndexOwed) + 1);
        PutMaps(batch, maps);
        batch.Put(ColumnFamily.Bodies, Keys.Crid(Crid), bodyBytes);
        PutSeries(db, batch, distrust);
        StoreMeta.Put(batch, StoreMeta.HighestCrid, Math.Max(own.Value, StoreMeta.Read(db, StoreMeta.HighestCrid)));
        finalize?.Invoke(header);
        header.BytesStored = batch.BytesPut + indexBytes + InFiles(sink.Frames) + InFiles(sink.Patches);
        header.BytesStored += (ulong)header.CalculateSize();
        var stored = ManifestCodec.EncodeHeader(header);
        batch.Put(ColumnFamily.Manifests, Keys.Crid(Crid), stored);
        FaultPoint.Hit("commit.before-write");
        db.Write(batch);
        FaultPoint.Hit("commit.written");
        return stored;
    }

    private void Remember(byte[] header, List<(SpaceId Id, PageMapResult Map)> maps)
    {
        if (store.Keeper?.Known is not { } known) return;
        foreach (var (_, map) in maps)
            foreach (var segment in map.Contents) known.Segments.Replace(segment);
        known.Committed(StoreId, Crid, header); // CheckPlace has seen that it is that one
    }

    /// <summary>
    /// A large index update follows the commit: an entry must never be there without what it points to. Until it is in, its pages are
    /// only stored a second time. That it is owed is part of the commit: the next gc makes up for it.
    /// </summary>
    /// <returns>It is in.</returns>
    private bool IngestIndex(RocksDb db)
    {
        if (indexFiles.Count == 0) return true;
        try
        {
            db.Ingest(ColumnFamily.Index, indexFiles);
            using var batch = db.NewBatch();
            StoreMeta.Put(batch, StoreMeta.IndexOwed, StoreMeta.Read(db, StoreMeta.IndexOwed) - 1); // others' debts stay
            db.Write(batch);
            return true;
        }
        catch (Exception e) when (e is CrstoreException or IOException)
        {
            options.Warning?.Invoke($"CRID {Crid} is committed, but its pages can't be found by their content before the next gc: {e.Message}");
            return false;
        }
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

    private void PutIndex(RocksWriteBatch batch)
    {
        Span<byte> key = stackalloc byte[ContentHash.Size];
        Span<byte> value = stackalloc byte[Keys.LocationSize];
        for (uint sequence = 0; sequence < sink.Fresh.Count; sequence++)
        {
            sink.Fresh[sequence].Write(key);
            Keys.Location(sink.LocationOf(sequence), value);
            batch.Put(ColumnFamily.Index, key, value);
        }
    }

    private void PutMaps(RocksWriteBatch batch, List<(SpaceId Id, PageMapResult Map)> maps)
    {
        Span<byte> key = stackalloc byte[Keys.SegmentSize];
        foreach (var (id, map) in maps)
        {
            batch.Put(ColumnFamily.Maps, Keys.Root(Crid, id), map.Root);
            foreach (var segment in map.Segments)
            {
                Keys.Segment(Crid, id, segment.Number, key);
                batch.Put(ColumnFamily.Maps, key, segment.Bytes);
            }
        }
    }

    private void PutSeries(RocksDb db, RocksWriteBatch batch, TrackerKind? distrust)
    {
        var record = SeriesRecords.Read(db, series) ?? new SeriesRecord { Name = series };
        record.LatestCrid = Math.Max(record.LatestCrid, Crid.Value); // one without a parent may overtake what is still written back
        if (distrust is { } caught && !record.Distrusted.Contains(caught)) record.Distrusted.Add(caught);
        SeriesRecords.Put(batch, record);
    }

    private void ThrowIfEnded()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (ended) throw new InvalidOperationException("the checkpoint was committed, or its commit failed");
    }
}
