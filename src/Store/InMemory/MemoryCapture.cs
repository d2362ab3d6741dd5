using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Layout;

namespace Crstore.Store.InMemory;

/// <summary>
/// A capture into the memory store. The series is locked in the main store, too, as by any capture of it, and what that has caught lying is not trusted here.
/// It ends before the machine, or the tmpfs, runs out of memory.
/// </summary>
internal sealed class MemoryCapture : ICheckpointWriter
{
    private const ulong StoreRoom = 8 << 20; // for what the store itself writes: logs, manifests, indexes
    private const long LookEvery = 16 << 20; // bytes: a look reads /proc, some 0.1 ms
    private readonly CheckpointStore main;
    private readonly MemoryStore memory;
    private readonly string series;
    private readonly HeldLock seriesLock;
    private readonly ICheckpointWriter inner;
    private long sinceLook = LookEvery;
    private bool noted;

    private MemoryCapture(CheckpointStore main, MemoryStore memory, string series, HeldLock seriesLock, ICheckpointWriter inner, IReadOnlySet<TrackerKind> distrusted) =>
        (this.main, this.memory, this.series, this.seriesLock, this.inner, DistrustedTrackers) = (main, memory, series, seriesLock, inner, distrusted);

    public Crid Crid => inner.Crid;

    public Guid StoreId => inner.StoreId;

    public CheckpointManifest? Parent => inner.Parent;

    public IReadOnlySet<TrackerKind> DistrustedTrackers { get; }

    public PhaseClock Clock => inner.Clock;

    public PageCounters Counters => inner.Counters;

    /// <summary>Begins one.</summary>
    /// <param name="main">The store that it may be committed to.</param>
    /// <param name="series">The series.</param>
    /// <param name="full">Without a parent.</param>
    /// <param name="estimatedBytes">Of a base: what it will take at least, by estimate.</param>
    public static MemoryCapture Begin(CheckpointStore main, string series, bool full, Func<ulong> estimatedBytes)
    {
        SeriesRecords.CheckName(series);
        var options = main.Options;
        var seriesLock = HeldLock.Take(main.Paths.SeriesLock(series), "capture --memory-only", $"series \"{series}\"", options.LockTimeout, options.Waiting, options.Cancel);
        MemoryStore? memory = null;
        ICheckpointWriter? inner = null;
        try
        {
            memory = MemoryStore.OpenOrCreate(main);
            var store = memory.Store;
            inner = MemoryStore.Explained(options, () => store.BeginCapture(series, full));
            HashSet<TrackerKind> distrusted;
            using (var reader = main.OpenReader()) distrusted = [.. SeriesRecords.Read(reader.Database, series)?.Distrusted ?? []];
            var capture = new MemoryCapture(main, memory, series, seriesLock, inner, distrusted);
            if (inner.Parent is null) capture.CheckRoom(estimatedBytes());
            return capture;
        }
        catch
        {
            inner?.Dispose();
            memory?.Dispose();
            seriesLock.Dispose();
            throw;
        }
    }

    public ISpaceWriter OpenSpace(SpaceId id, SpaceId? parentSpace) => new Space(this, inner.OpenSpace(id, parentSpace));

    public CheckpointHeader Commit(CheckpointManifest manifest, TrackerKind? distrust = null, Action<CheckpointHeader>? finalize = null)
    {
        if (distrust is { } caught) main.Distrust(series, caught); // at once: what is known of the target must not go with the memory
        noted = true;
        MemoryNotes.Write(main.Paths, Crid);
        FaultPoint.Hit("memory.noted");
        var header = MemoryStore.Explained(main.Options, () => inner.Commit(manifest, distrust, finalize));
        noted = false; // it is true
        return header;
    }

    public void Dispose()
    {
        try
        {
            inner.Dispose();
            if (noted) RemoveNote();
        }
        finally
        {
            memory.Dispose();
            seriesLock.Dispose();
        }
    }

    // Unless it is committed all the same: what failed may have come behind the commit point.
    private void RemoveNote()
    {
        try
        {
            using var reader = memory.Store.OpenReader();
            if (reader.Header(Crid) is not null) return;
        }
        catch (CrstoreException)
        {
            return; // who knows
        }

        MemoryNotes.Remove(main.Paths, Crid);
    }

    /// <summary>Before so many bytes are stored, packed or not.</summary>
    private void CheckRoom(ulong bytes)
    {
        if (main.Options.SpareMemory is { } spare && Math.Max(0, spare()) is var left && (ulong)left < bytes)
            throw new EnvironmentException($"CRID {Crid} is not kept in memory: it may take {bytes >> 20} MiB more, and the machine can spare {left >> 20} MiB", MemoryStore.HowToMakeRoom(main.Options));
        var free = memory.FreeBytes;
        if (free < bytes + StoreRoom)
            throw new EnvironmentException($"CRID {Crid} is not kept in memory: it may take {bytes >> 20} MiB more, and {free >> 20} MiB are free in {memory.Store.Directory}", MemoryStore.HowToMakeRoom(main.Options));
    }

    private void Told(int bytes)
    {
        sinceLook += bytes;
        if (sinceLook < LookEvery) return;
        sinceLook = 0;
        CheckRoom((ulong)Math.Max(bytes, LookEvery));
    }

    private sealed class Space(MemoryCapture capture, ISpaceWriter inner) : ISpaceWriter
    {
        public IReadOnlyList<PageSpan> ParentSpans => inner.ParentSpans;

        public void Keep(PageRange range) => inner.Keep(range);

        public void SetZero(PageRange range) => inner.SetZero(range);

        public void SetExcluded(PageRange range) => inner.SetExcluded(range);

        public void SetAbsent(PageRange range) => inner.SetAbsent(range);

        public void SetContent(VirtualPage first, ReadOnlyMemory<byte> pages)
        {
            capture.Told(pages.Length);
            inner.SetContent(first, pages);
        }

        public void SetContent(IReadOnlyList<PageRange> runs, ReadOnlyMemory<byte> pages, PageLoan loan)
        {
            capture.Told(pages.Length);
            inner.SetContent(runs, pages, loan);
        }

        public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) => inner.MatchesParent(page, content);

        public void Clear() => inner.Clear();
    }
}
