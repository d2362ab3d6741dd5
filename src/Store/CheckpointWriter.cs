using System.Globalization;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.InMemory;
using Crstore.Store.Layout;
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
    private readonly CheckpointStore store;
    private readonly HeldLock? seriesLock;
    private readonly NewCheckpoint checkpoint;
    private readonly SessionFile session;
    private readonly StoreReader snapshot;
    private readonly WriteAccess? held; // the snapshot is what the keeper has open for writing: nobody else changes it
    private readonly ChunkSink sink;
    private readonly ChunkLookup chunks;
    private readonly SortedDictionary<uint, SpaceWriter> spaces = [];
    private readonly FreshIndex index;
    private EarlyOpening? approaching;
    private bool ended;
    private bool disposed;

    private CheckpointWriter(CheckpointStore store, string series, bool full, HeldLock? seriesLock, Crid crid, SessionFile session, StoreReader snapshot, WriteAccess? kept, Crid? parent, PhaseClock clock, Adoption? adoption)
    {
        (this.store, this.seriesLock, this.session, this.snapshot, held) = (store, seriesLock, session, snapshot, kept);
        clock.Enter("parent");
        var generation = StoreMeta.Read(snapshot.Database, StoreMeta.GcGeneration);
        session.Began(generation);
        var record = SeriesRecords.Read(snapshot.Database, series);
        DistrustedTrackers = record?.Distrusted.ToHashSet() ?? [];
        var latest = adoption is null ? parent ?? new Crid(record?.LatestCrid ?? 0) : adoption.ParentIn(snapshot, series);
        if (!full && latest.IsSome && snapshot.Header(latest) is not null) Parent = snapshot.Manifest(latest);
        checkpoint = new NewCheckpoint(store, series, adoption?.Crid ?? crid, Own: crid, Adopted: adoption is not null, Parent?.Crid ?? Crid.None, generation, clock);
        chunks = kept?.Chunks ?? new ChunkLookup(snapshot.Database);
        if (store.Keeper?.Known is { } known)
        {
            known.Begin(snapshot.Database);
            snapshot.Segments.Kept = known.Segments;
        }

        sink = new ChunkSink(store.Paths, crid, snapshot.Database, chunks, store.Options, store.Keeper);
        index = new FreshIndex(checkpoint, sink);
        clock.Stop();
    }

    /// <inheritdoc/>
    public Crid Crid => checkpoint.Crid;

    /// <inheritdoc/>
    public Guid StoreId => store.Id;

    /// <inheritdoc/>
    public PhaseClock Clock => checkpoint.Clock;

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
            index.Begin();
            try
            {
                sink.Complete();
                var commit = new CheckpointCommit(checkpoint, sink, index, building.GetAwaiter().GetResult(), manifest) { Distrust = distrust, Finalize = finalize };
                commit.Fill(moved); // refuses what could not be read back, before anything is written
                OpenAndRun(commit, early);
            }
            finally
            {
                Task.WaitAny(building);
                index.AwaitEnd(); // also when this fails: its files are to be removed
            }

            FaultPoint.Hit("commit.closed");
            Clock.Stop();
            return manifest.Header;
        });
    }

    private void OpenAndRun(CheckpointCommit commit, EarlyOpening? early)
    {
        // Nobody shall wait for that; and where it finds no room, no frames shall be left in the store that are only garbage.
        if (early is null && (held is null || !DiskRoom.IsPlenty(store.Paths))) index.Complete();
        using var late = held is null && early is null ? Open() : null;
        var access = held ?? (early ?? late)!.Await(Clock);
        try
        {
            FaultPoint.Hit("commit.opened");
            if (held is not null) DiskRoom.EnsureOpen(store.Paths, toFree: false);
            commit.Run(access);
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
        held is null && sink.Fresh.Count <= store.Options.IndexFileEntries && DiskRoom.IsPlenty(store.Paths) ? Open() : null;

    private EarlyOpening Open() => EarlyOpening.Begin(store, string.Create(CultureInfo.InvariantCulture, $"capture of CRID {Crid}"), () =>
    {
        FaultPoint.Hit("commit.locked");
        SessionFile.Sweep(store.Paths, out _);
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
            index.Dispose();
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

    private void ThrowIfEnded()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (ended) throw new InvalidOperationException("the checkpoint was committed, or its commit failed");
    }
}
