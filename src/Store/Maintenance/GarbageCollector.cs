using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Store.Pending;

namespace Crstore.Store.Maintenance;

/// <summary>
/// gc in two looks (docs/GC.md says why it is safe): condemn what nothing reaches, wait for the sessions that may have seen
/// it, look again, free what was unreached both times. The write lock is held in slices; captures commit in between.
/// </summary>
internal sealed class GarbageCollector(CheckpointStore store, GcOptions options, IProgress<StoreProgress>? progress, CancellationToken cancel)
{
    private const int MaxRounds = 20;
    private static readonly TimeSpan LockSlice = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan LetOthersIn = TimeSpan.FromMilliseconds(150); // waiters look every 50 to 100 ms
    private readonly GcTally _tally = new();
    private readonly long _began = Stopwatch.GetTimestamp();

    private StorePaths Paths => store.Paths;

    /// <summary>Runs.</summary>
    public GcResult Run()
    {
        using var alone = HeldLock.Take(Paths.GcLock, "gc", $"gc of {Paths.Root}", store.Options.LockTimeout, store.Options.Waiting, cancel);
        var before = StoreSizes.DirectoryBytes(Paths.Database);
        SweepFiles();
        PendingFiles.Sweep(Paths);
        IReadOnlyList<string> heldBy = [];
        if (Condemn() is { IsEmpty: false } condemned && (heldBy = Finish(condemned)).Count == 0) FaultPoint.Hit("gc.done");
        return _tally.Result(before, StoreSizes.DirectoryBytes(Paths.Database), Stopwatch.GetElapsedTime(_began), heldBy);
    }

    private Condemned Condemn() => Locked(db =>
    {
        FaultPoint.Hit("gc.locked");
        return Condemned.LookAndDrop(db, null, progress, cancel);
    });

    /// <summary>Waits, looks again and frees; returns the sessions that did not end in time.</summary>
    private IReadOnlyList<string> Finish(Condemned condemned)
    {
        Sweeper? sweeper = null;
        for (var round = 0; sweeper is null; round++)
        {
            FaultPoint.Hit("gc.unlocked");
            var held = WaitForSessions(condemned.Generation);
            if (held.Count > 0) return held;
            if (round == MaxRounds) return ["forgets, which never stopped"];
            FaultPoint.Hit("gc.sessions-over");
            Locked(db =>
            {
                FaultPoint.Hit("gc.relocked");
                if (IsUndisturbed(db, condemned)) sweeper = Sweeper.Confirm(db, condemned, store.Options.Compression, _tally, progress, cancel);
                else condemned = Condemned.LookAndDrop(db, condemned, progress, cancel);
                return true;
            });
            if (condemned.IsEmpty) return [];
        }

        foreach (var (crid, why) in condemned.Unreadable) _tally.LeftAlone[$"what there may be of CRID {crid}"] = why;
        Work(sweeper.Steps());
        foreach (var (what, why) in _tally.LeftAlone) store.Options.Warning?.Invoke($"gc left {what} as it is, for it can't be read: {why}");
        try
        {
            Work(sweeper.Compactions());
        }
        catch (StoreDamagedException damage)
        {
            // Nobody reaches what is damaged, or the steps before would have met it: all that is lost is the space of its table.
            store.Options.Warning?.Invoke($"gc is done, but a damaged table keeps its space: {damage.Message}");
        }

        return [];
    }

    /// <summary>
    /// Between the two looks manifests may only have been added. A forget in between could hide one that brought a condemned
    /// chunk back to life for a while, long enough for a capture to take it over from there.
    /// </summary>
    private static bool IsUndisturbed(RocksDb db, Condemned condemned) =>
        StoreMeta.Read(db, StoreMeta.Forgets) == condemned.Forgets && StoreMeta.Read(db, StoreMeta.GcGeneration) == condemned.Generation;

    private List<string> WaitForSessions(ulong generation)
    {
        var told = false;
        var since = Stopwatch.GetTimestamp(); // each wait for itself: marking a large store takes long too
        while (true)
        {
            var blocking = SweepFiles().Where(s => s.Generation is null || s.Generation < generation).ToList();
            if (blocking.Count == 0) return [];
            var names = blocking.Select(s => $"capture of CRID {s.Crid} (pid {s.Pid})").ToList();
            if (Stopwatch.GetElapsedTime(since) >= options.WaitForSessions) return names;
            if (!told) store.Options.Waiting?.Invoke($"gc waits for {string.Join(", ", names)}, which began before it");
            told = true;
            progress?.Report(new StoreProgress($"waiting for {names[0]}", 0, 0));
            cancel.WaitHandle.WaitOne(50);
            cancel.ThrowIfCancellationRequested();
        }
    }

    private IReadOnlyList<LiveSession> SweepFiles()
    {
        var live = SessionFile.Sweep(Paths, out var removed);
        _tally.OrphanFiles += (ulong)removed;
        return live;
    }

    /// <summary>Does steps under the write lock, letting others in now and then. What is dead stays dead, whoever comes in.</summary>
    private void Work(IEnumerable<Action<RocksDb>> steps)
    {
        using var step = steps.GetEnumerator();
        for (var more = true; more;)
        {
            Locked(db =>
            {
                var since = Stopwatch.GetTimestamp();
                while (Stopwatch.GetElapsedTime(since) < LockSlice && (more = step.MoveNext()))
                {
                    cancel.ThrowIfCancellationRequested();
                    step.Current(db);
                }

                return true;
            });
            if (more) Thread.Sleep(LetOthersIn);
        }
    }

    private T Locked<T>(Func<RocksDb, T> work)
    {
        using var access = WriteAccess.Take(store, "gc", toFree: true);
        var result = work(access.Database);
        Housekeeping.Run(access.Database);
        DiskRoom.KeepReserve(Paths);
        return result;
    }
}

/// <summary>What a gc has freed so far.</summary>
internal sealed class GcTally
{
    /// <summary>Chunks whose space is free, or will be when RocksDB compacts.</summary>
    public ulong Chunks { get; set; }

    /// <summary>Frames deleted whole.</summary>
    public ulong FramesDeleted { get; set; }

    /// <summary>Frames rewritten without their dead slots.</summary>
    public ulong FramesRewritten { get; set; }

    /// <summary>Page-map segments.</summary>
    public ulong Segments { get; set; }

    /// <summary>Files of dead sessions.</summary>
    public ulong OrphanFiles { get; set; }

    /// <summary>Frames and patch groups with live pages that turned out to be damaged.</summary>
    public ulong DamagedFrames { get; set; }

    /// <summary>What nobody reaches and could not be read, with the reason: it is left as it is.</summary>
    public SortedDictionary<string, string> LeftAlone { get; } = [];

    /// <summary>Reads a record that is to be freed; false if it is not there, or can't be read.</summary>
    public bool TryGet(RocksDb db, ColumnFamily family, ReadOnlySpan<byte> key, string name, [NotNullWhen(true)] out byte[]? bytes)
    {
        bytes = null;
        try
        {
            bytes = db.Get(family, key);
        }
        catch (StoreDamagedException e)
        {
            LeftAlone[name] = e.Message;
        }

        return bytes is not null;
    }

    /// <summary>As the caller gets it.</summary>
    public GcResult Result(ulong before, ulong after, TimeSpan duration, IReadOnlyList<string> heldBy, bool dryRun = false) =>
        new(Chunks, FramesDeleted, FramesRewritten, Segments, OrphanFiles, before, after, duration, dryRun, heldBy) { DamagedFrames = DamagedFrames };
}
