using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.InMemory;
using Crstore.Store.Layout;
using Crstore.Store.Maintenance;
using Crstore.Store.Pending;

namespace Crstore.Store;

/// <summary>What a store has in memory beside it.</summary>
/// <param name="Checkpoints">In memory only.</param>
/// <param name="Bytes">Of the files.</param>
public readonly record struct MemoryUse(int Checkpoints, ulong Bytes);

public sealed partial class CheckpointStore
{
    /// <summary>Where its CRIDs are counted: of a memory store, in the main one.</summary>
    internal StorePaths CountedIn { get; private set; }

    /// <summary>What there is, committed or in memory only; beside any writer.</summary>
    public StoreView OpenView() => new(this);

    /// <summary>
    /// As <see cref="BeginCapture"/>, of a checkpoint that is kept in memory until <see cref="CommitFromMemory"/> or <see cref="Discard"/>. Its parent is one that is in
    /// memory, too.
    /// </summary>
    /// <param name="series">The series.</param>
    /// <param name="full">Without a parent.</param>
    /// <param name="estimatedBytes">Asked if there is no parent: what it will take by estimate.</param>
    /// <exception cref="EnvironmentException">There is no place, or no room.</exception>
    public ICheckpointWriter BeginMemoryCapture(string series, bool full, Func<ulong> estimatedBytes) => MemoryCapture.Begin(this, series, full, estimatedBytes);

    /// <summary>
    /// Writes a checkpoint that is in memory into the store, under the same CRID; durable when this returns. Killed at any moment, it is committed, or in memory, or both,
    /// and may be called again.
    /// </summary>
    /// <returns>The header; false if it was committed already.</returns>
    /// <exception cref="UsageException">There is no such checkpoint.</exception>
    public (CheckpointHeader Header, bool Written) CommitFromMemory(Crid crid, IProgress<StoreProgress>? progress, CancellationToken cancel) => StoreErrors.Guard(() =>
    {
        using var memory = MemoryStore.TryOpen(this);
        if (memory is null) return (Committed(crid) ?? throw Unknown(crid), false);
        bool written;
        CheckpointHeader header;
        using (memory.LockRemovals($"commit of CRID {crid}"))
        {
            using var source = memory.Store.OpenReader();
            if (source.Header(crid) is not { } found) return (Committed(crid) ?? throw Unknown(crid), false);
            var there = Committed(crid);
            if (there is not null && !IsSame(there, found)) throw Another(crid);
            written = there is null;
            header = there ?? Adopt(source, crid, progress, cancel);
            FaultPoint.Hit("adopt.committed");
            try
            {
                memory.Forget([crid]);
            }
            catch (Exception e) when (e is EnvironmentException or StoreBusyException)
            {
                Options.Warning?.Invoke($"CRID {crid} is committed, but it is still in memory too; the next `crstore gc` tries again: {e.Message}");
                return (header, written);
            }
        }

        memory.Shrink(cancel);
        return (header, written);
    });

    /// <summary>Lets checkpoints go that are in memory only, all or none.</summary>
    /// <exception cref="UsageException">Some of them are committed, or don't exist.</exception>
    public void Discard(IReadOnlyList<Crid> crids, CancellationToken cancel) => StoreErrors.Guard(() =>
    {
        using var memory = MemoryStore.TryOpen(this);
        using (memory?.LockRemovals("discard"))
        {
            using var source = memory?.Store.OpenReader();
            foreach (var crid in crids)
            {
                if (Committed(crid) is not null) throw new UsageException($"CRID {crid} is committed; nothing was discarded", $"`crstore forget {crid}` removes a committed checkpoint");
                if (source?.Header(crid) is null) throw Unknown(crid);
            }

            memory?.Forget([.. crids.Distinct().Order()]);
        }

        memory?.Shrink(cancel);
    });

    /// <summary>
    /// Removes checkpoints from view, committed ones or in memory only; gc frees the space of the committed ones. All or none of either kind: if the store is busy or full when those in memory are gone,
    /// the committed ones stay, and the call can be made again for them.
    /// </summary>
    /// <param name="crids">Which.</param>
    /// <param name="dryRun">Only check.</param>
    /// <param name="damaged">Told of damage that was met and did not matter.</param>
    /// <exception cref="UsageException">Some of them don't exist; names them.</exception>
    public ForgetResult Forget(IReadOnlyList<Crid> crids, bool dryRun, Action<string>? damaged = null) => StoreErrors.Guard(() =>
    {
        using var memory = MemoryStore.TryOpen(this);
        if (memory is null || !memory.HasAny(crids)) return ForgetHere(crids, dryRun, damaged);
        List<Crid> volatileOnes, committed;
        using (memory.LockRemovals("forget"))
        {
            using (var source = memory.Store.OpenReader())
            using (var reader = OpenReader())
            {
                volatileOnes = [.. crids.Distinct().Where(c => source.Header(c) is { } found && (reader.Header(c) is not { } there || IsSame(there, found))).Order()];
                committed = [.. Forgetting.Check(reader.Database, [.. crids.Where(c => !volatileOnes.Contains(c) || reader.Header(c) is not null)])];
            }

            if (dryRun) return new ForgetResult([.. volatileOnes.Union(committed).Order()], true);
            memory.Forget(volatileOnes); // first: what is in both must not come back as one that is in memory only
        }

        if (committed.Count > 0) ForgetHere(committed, dryRun: false, damaged);
        if (volatileOnes.Count > 0) memory.Shrink(Options.Cancel);
        return new ForgetResult([.. volatileOnes.Union(committed).Order()], false);
    });

    /// <summary>What is in memory.</summary>
    public MemoryUse MemoryUse()
    {
        using var memory = MemoryStore.TryOpen(this);
        if (memory is null) return default;
        using var view = OpenView();
        return new MemoryUse(view.Headers(damaged: _ => { }).Count(h => view.IsInMemory(new Crid(h.Crid))), StoreSizes.DirectoryBytes(memory.Store.Directory));
    }

    /// <summary>For gc: takes out of memory what is committed, gives back memory that nothing uses, and turns notes of earlier boots into news.</summary>
    /// <remarks>What is wrong with the memory is a warning: gc goes on with the store.</remarks>
    public void TidyMemory(CancellationToken cancel)
    {
        StoreErrors.Guard(() => MemoryNotes.Sweep(Paths));
        try
        {
            StoreErrors.Guard(() => TakeOutCommitted(cancel));
        }
        catch (CrstoreException e)
        {
            Options.Warning?.Invoke($"checkpoints in memory are left as they are: {e.Message}");
        }
    }

    private void TakeOutCommitted(CancellationToken cancel)
    {
        using (var memory = MemoryStore.TryOpen(this))
        {
            if (memory is not null)
            {
                using (memory.LockRemovals("gc"))
                {
                    using var source = memory.Store.OpenReader();
                    memory.Forget([.. source.Headers(damaged: _ => { }).Where(h => Committed(new Crid(h.Crid)) is { } there && IsSame(there, h)).Select(h => new Crid(h.Crid))]);
                }

                memory.Shrink(cancel);
            }
        }

        MemoryStore.RemoveIfEmpty(this);
    }

    /// <summary>Its CRIDs come from another store.</summary>
    internal CheckpointStore CountIn(StorePaths counter)
    {
        CountedIn = counter;
        return this;
    }

    /// <summary>A tracker was caught lying in a series by a checkpoint that is not committed, and may never be.</summary>
    internal void Distrust(string series, TrackerKind tracker) => StoreErrors.Guard(() =>
    {
        using var access = WriteAccess.Take(this, "capture --memory-only", toFree: false);
        var record = SeriesRecords.Read(access.Database, series) ?? new SeriesRecord { Name = series };
        if (record.Distrusted.Contains(tracker)) return;
        record.Distrusted.Add(tracker);
        using var batch = access.Database.NewBatch();
        SeriesRecords.Put(batch, record);
        access.Database.Write(batch);
    });

    /// <summary>What to say of a CRID that is in neither store.</summary>
    internal UsageException Unknown(Crid crid)
    {
        var status = StoreErrors.Guard(() => CapturedStatus.Read(Paths, crid));
        if (status is { State: CapturedState.InMemory }) status = MemoryNotes.Meaning(status);
        return status is { State: CapturedState.Failed, ExitCode: ExitCode.Usage }
            ? new UsageException($"there is no CRID {crid} in {Directory}: {status.Reason}", status.Hint)
            : new UsageException($"there is no CRID {crid} in {Directory}", "`crstore list` shows what there is");
    }

    private static bool IsSame(CheckpointHeader a, CheckpointHeader b) => a.Series == b.Series && a.CapturedUnixNs == b.CapturedUnixNs;

    // Two copies of one store share its id, and so its memory store, and each counts for itself.
    private StoreDamagedException Another(Crid crid) => new($"CRID {crid} is another checkpoint in {Directory} than in memory: is that a copy of the store that it was captured with?",
        "commit it to the store that it was captured with");

    private CheckpointHeader? Committed(Crid crid)
    {
        using var reader = OpenReader();
        return reader.Header(crid);
    }

    private CheckpointHeader Adopt(StoreReader source, Crid crid, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        using var image = source.OpenImage(crid);
        var manifest = image.Manifest;
        var series = manifest.Header.Series;
        var clock = new PhaseClock();
        var (own, session) = CheckpointWriter.Register(this, clock);
        CheckpointWriter writer;
        try
        {
            writer = CheckpointWriter.Over(this, series, full: false, seriesLock: null, own, session, clock, adoption: new Adoption(crid));
        }
        catch
        {
            session.Dispose();
            throw;
        }

        using (writer)
        {
            new ImageCopy(image, writer, progress, cancel).Run();
            return writer.Commit(manifest);
        }
    }
}
