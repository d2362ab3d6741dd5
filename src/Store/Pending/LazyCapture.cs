using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Layout;

namespace Crstore.Store.Pending;

/// <summary>
/// A capture that may be announced as soon as its target runs again (<see cref="Announce"/>): the series is then free for the next one, which builds
/// on it before it is committed. Commits follow each other in the order of the freezes; if one fails, those that are built on it are void.
/// docs/ARCHITECTURE.md, "Lazy commit".
/// </summary>
public sealed class LazyCapture : ICheckpointWriter
{
    /// <summary>Announced captures of one series that may be under way at once. Each holds its pages in memory and is a process of its own.</summary>
    public const int MostInFlight = 4;

    private readonly CheckpointStore store;
    private readonly StorePaths paths;
    private readonly StoreOptions options;
    private readonly string series;
    private readonly HeldLock seriesLock;
    private readonly SessionFile session;
    private readonly PendingCheckpoint? pending;
    private readonly Dictionary<DeferredSpace, (SpaceId Id, SpaceId? Parent)> deferred = [];
    private CheckpointWriter? inner;
    private bool announced;
    private bool committed;
    private bool disposed;

    private LazyCapture(CheckpointStore store, string series, bool full, HeldLock seriesLock, Crid crid, SessionFile session, PhaseClock clock)
    {
        (this.store, paths, options, this.series, this.seriesLock, Crid, this.session, Clock) = (store, store.Paths, store.Options, series, seriesLock, crid, session, clock);
        if (!full && FindPending() is var (announcedParent, distrusted))
        {
            pending = announcedParent;
            Parent = new CheckpointManifest(pending.Header, pending.Body);
            DistrustedTrackers = distrusted;
            return;
        }

        inner = CheckpointWriter.Over(store, series, full, seriesLock, crid, session, clock);
        (Parent, DistrustedTrackers) = (inner.Parent, inner.DistrustedTrackers);
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
    public bool ParentIsPending => inner is null;

    /// <inheritdoc/>
    public PageCounters Counters => inner?.Counters ?? new PageCounters();

    internal static LazyCapture Begin(CheckpointStore store, string series, bool full)
    {
        SeriesRecords.CheckName(series);
        var (paths, options) = (store.Paths, store.Options);
        var clock = new PhaseClock();
        clock.Enter("series");
        var seriesLock = HeldLock.Take(paths.SeriesLock(series), "capture --lazy", $"series \"{series}\"", options.LockTimeout, options.Waiting, options.Cancel);
        SessionFile? session = null;
        try
        {
            PendingFiles.Sweep(paths);
            PendingFiles.AwaitSeries(paths, options, series, MostInFlight - 1);
            (var crid, session) = CheckpointWriter.Register(store, clock);
            return new LazyCapture(store, series, full, seriesLock, crid, session, clock);
        }
        catch
        {
            session?.Dispose();
            seriesLock.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The target runs again: from now on the CRID is known, <see cref="CheckpointStore.StatusOf"/> tells how it stands, and the next capture of
    /// the series may begin. Fills in what the store knows of the header.
    /// </summary>
    /// <param name="manifest">As of the freeze; counters of the store are missing.</param>
    /// <param name="content">The pages of each space that will have content.</param>
    public void Announce(CheckpointManifest manifest, IReadOnlyList<SpaceContent> content)
    {
        var header = manifest.Header;
        header.Crid = manifest.Body.Crid = Crid.Value;
        header.ParentCrid = Parent?.Crid.Value ?? 0;
        header.Series = series;
        header.Kind = Parent is null ? CheckpointKind.Base : CheckpointKind.Increment;
        var frozen = new PendingCheckpoint { Header = header, Body = manifest.Body };
        foreach (var space in content)
        {
            var message = new PendingSpace { Id = space.Space.Value };
            foreach (var range in space.Pages)
            {
                message.Runs.Add(range.Start.Number);
                message.Runs.Add(range.Count);
            }

            frozen.Spaces.Add(message);
        }

        StoreErrors.Guard(() =>
        {
            announced = true;
            new CapturedStatus(CapturedState.Writing, Environment.ProcessId).Write(paths, Crid);
            PendingFiles.WriteFrozen(paths, frozen);
        });
        FaultPoint.Hit("lazy.announced");
        seriesLock.Dispose();
    }

    /// <summary>Why it will not be committed, for those who were told its CRID.</summary>
    public void Fail(ExitCode code, string reason, string? hint)
    {
        if (!announced || committed) return;
        try
        {
            new CapturedStatus(CapturedState.Failed, Environment.ProcessId, code, reason, hint).Write(paths, Crid);
        }
        catch (LinuxException e)
        {
            // A full disk, mostly: then it looks as if we had been killed, which is no less void.
            System.Diagnostics.Debug.WriteLine(e.Message);
        }
    }

    /// <inheritdoc/>
    public void AwaitParent()
    {
        if (inner is not null) return;
        var parent = new Crid(pending!.Header.Crid);
        PendingFiles.AwaitSession(paths, parent, options.Cancel);
        // Its snapshot is taken now: for gc, this capture knows its parent from a store that has it.
        var opened = CheckpointWriter.Over(store, series, full: false, seriesLock, Crid, session, Clock, parent);
        if (opened.Parent is null)
        {
            opened.Release();
            throw new VoidCaptureException($"CRID {Crid} is void: CRID {parent}, on which it is built, was not committed, or is forgotten already");
        }

        // It was captured anew if its tracker was caught lying: then what we froze was compared with something that never was.
        if (!opened.Parent.Body.Proofs.Equals(pending.Body.Proofs))
        {
            opened.Release();
            throw new VoidCaptureException($"CRID {Crid} is void: CRID {parent}, on which it is built, was captured anew");
        }

        inner = opened;
        FaultPoint.Hit("lazy.parent-settled");
    }

    /// <inheritdoc/>
    public ISpaceWriter OpenSpace(SpaceId id, SpaceId? parentSpace)
    {
        if (inner is not null) return inner.OpenSpace(id, parentSpace);
        var space = new DeferredSpace(parentSpace is { } p ? AnnouncedSpans(p) : [], Settle);
        deferred.Add(space, (id, parentSpace));
        return space;
    }

    /// <inheritdoc/>
    public CheckpointHeader Commit(CheckpointManifest manifest, TrackerKind? distrust = null, Action<CheckpointHeader>? finalize = null)
    {
        AwaitParent();
        foreach (var space in deferred.Keys) space.SetAbsent(default); // one that nothing was said of is there all the same
        var header = inner!.Commit(manifest, distrust, finalize);
        committed = true;
        return header;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (disposed) return;
        disposed = true;
        try
        {
            if (announced)
            {
                if (committed) Linux.Files.FileCalls.Unlink(PendingFiles.StatusPath(paths, Crid));
                Linux.Files.FileCalls.Unlink(PendingFiles.FrozenPath(paths, Crid));
            }
        }
        catch (LinuxException e)
        {
            // Without its session it means nothing; the next capture removes it.
            System.Diagnostics.Debug.WriteLine(e.Message);
        }
        finally
        {
            if (inner is not null)
            {
                inner.Dispose();
            }
            else
            {
                session.Dispose();
                seriesLock.Dispose();
            }
        }
    }

    // The last one that is announced, if nothing was committed on top of it. It is looked for before the store is: what ends in between is in the store.
    private (PendingCheckpoint, IReadOnlySet<TrackerKind>)? FindPending()
    {
        if (PendingFiles.InFlight(paths, series) is not [.., var last]) return null;
        using var reader = StoreReader.Open(paths);
        var record = SeriesRecords.Read(reader.Database, series);
        if (record?.LatestCrid >= last.Value || PendingFiles.ReadFrozen(paths, last) is not { } found) return null;
        return (found, record?.Distrusted.ToHashSet() ?? []);
    }

    private ISpaceWriter Settle(DeferredSpace space)
    {
        AwaitParent();
        var (id, parentSpace) = deferred[space];
        var settled = inner!.OpenSpace(id, parentSpace);
        // A page that the parent lost on its way to the store, since it could not be read after all, is none to keep.
        if (!Contents(settled.ParentSpans).SequenceEqual(Contents(space.ParentSpans)))
            throw new VoidCaptureException($"CRID {Crid} is void: CRID {Parent!.Crid}, on which it is built, did not get all the pages that it was to have");
        return settled;
    }

    private List<PageSpan> AnnouncedSpans(SpaceId space)
    {
        var spans = new List<PageSpan>();
        if (pending!.Spaces.FirstOrDefault(s => s.Id == space.Value) is not { } found) return spans;
        for (var i = 0; i + 1 < found.Runs.Count; i += 2) spans.Add(new PageSpan(new PageRange(new VirtualPage(found.Runs[i]), found.Runs[i + 1]), PageKind.Chunk));
        return spans;
    }

    // Zero pages and chunks alike, neighbours joined.
    private static List<PageRange> Contents(IReadOnlyList<PageSpan> spans)
    {
        var all = new List<PageRange>();
        foreach (var span in spans)
        {
            if (span.Kind is not (PageKind.Zero or PageKind.Chunk)) continue;
            if (all.Count > 0 && all[^1].End == span.Range.Start) all[^1] = new PageRange(all[^1].Start, all[^1].Count + span.Range.Count);
            else all.Add(span.Range);
        }

        return all;
    }
}
