using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Maintenance;

namespace Crstore.Store.InMemory;

/// <summary>
/// What a user sees of a store: its checkpoints, and those that are in memory only. A snapshot of both. A checkpoint that is in both, since the process that committed it
/// was killed before it took it out of memory, is a committed one.
/// </summary>
public sealed class StoreView : IDisposable
{
    private readonly CheckpointStore store;
    private readonly StoreReader? memory;
    private readonly StoreReader main;

    internal StoreView(CheckpointStore store)
    {
        this.store = store;
        memory = MemoryStore.TryRead(store); // first: what is committed in between is in the main store then
        try
        {
            main = store.OpenReader();
        }
        catch
        {
            memory?.Dispose();
            throw;
        }
    }

    /// <summary>The directory.</summary>
    public string Directory => store.Directory;

    /// <summary>A checkpoint is in memory only.</summary>
    public bool IsInMemory(Crid crid) => memory is not null && main.Header(crid) is null && memory.Header(crid) is not null;

    /// <summary>The header of a CRID; null if there is no such checkpoint.</summary>
    public CheckpointHeader? Header(Crid crid) => main.Header(crid) ?? memory?.Header(crid);

    /// <inheritdoc cref="StoreReader.Headers"/>
    public IEnumerable<CheckpointHeader> Headers(string? series = null, Action<string>? damaged = null)
    {
        var committed = main.Headers(series, damaged);
        if (memory is null) return committed;
        var others = memory.Headers(series, damaged).Where(h => main.Header(new Crid(h.Crid)) is null).ToList();
        return others.Count == 0 ? committed : committed.Concat(others).OrderBy(h => h.Crid);
    }

    /// <inheritdoc cref="StoreReader.Series"/>
    public IReadOnlyList<SeriesInfo> Series(Action<string>? damaged = null)
    {
        var all = main.Series(damaged);
        if (memory is null) return all;
        var known = new SortedDictionary<string, SeriesInfo>(all.ToDictionary(s => s.Name), StringComparer.Ordinal);
        foreach (var header in memory.Headers(damaged: damaged))
            if (main.Header(new Crid(header.Crid)) is null)
                known[header.Series] = SeriesInfo.With(known.GetValueOrDefault(header.Series), header);
        return [.. known.Values];
    }

    /// <inheritdoc cref="StoreReader.SeriesHeads"/>
    public IEnumerable<(string Name, Crid Latest)> SeriesHeads(string prefix, Action<string> damaged) => main.SeriesHeads(prefix, damaged)
        .Concat(memory?.SeriesHeads(prefix, damaged) ?? []).GroupBy(s => s.Name).Select(g => g.MaxBy(s => s.Latest.Value)).ToList();

    /// <summary>Header and body.</summary>
    /// <exception cref="UsageException">There is no such CRID.</exception>
    public CheckpointManifest Manifest(Crid crid) => Of(crid).Manifest(crid);

    /// <inheritdoc cref="StoreReader.Resolve"/>
    public Crid Resolve(string spec) => CheckpointNames.Resolve(spec, store.Directory, crid => main.Header(crid) is not null || IsInMemory(crid), name => Headers(name), store.Unknown);

    /// <summary>The image source of a CRID. It stays open without this.</summary>
    public ICheckpointImage OpenImage(Crid crid) => Of(crid).OpenImage(crid);

    /// <inheritdoc cref="StoreReader.Diff"/>
    public DiffResult Diff(Crid a, Crid b, IProgress<StoreProgress>? progress, CancellationToken cancel) =>
        new CheckpointDiff(Of(a), Manifest(a), Of(b), Manifest(b), progress, cancel).Run();

    /// <inheritdoc cref="StoreReader.Verify"/>
    public VerifyResult Verify(IReadOnlyList<Crid> crids, VerifyOptions options, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        if (memory is null) return main.Verify(crids, options, progress, cancel);
        var ours = crids.Where(c => !IsInMemory(c)).ToList();
        var others = crids.Where(IsInMemory).ToList();
        if (crids.Count > 0 && others.Count == 0) return main.Verify(ours, options, progress, cancel);
        if (crids.Count > 0 && ours.Count == 0) return memory.Verify(others, options, progress, cancel);
        if (crids.Count == 0) others = [.. memory.Headers(damaged: _ => { }).Select(h => new Crid(h.Crid)).Where(IsInMemory)];
        var committed = main.Verify(ours, options, progress, cancel);
        if (others.Count == 0) return committed;
        var volatileOnes = memory.Verify(others, options, progress, cancel);
        return new VerifyResult([.. committed.Whole.Concat(volatileOnes.Whole).Order()], [.. committed.Broken.Concat(volatileOnes.Broken).Order()],
            [.. committed.Problems, .. volatileOnes.Problems], committed.FramesRead + volatileOnes.FramesRead, committed.PagesRead + volatileOnes.PagesRead,
            [.. committed.StoreProblems, .. volatileOnes.StoreProblems.Select(problem => $"in memory: {problem}")]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        main.Dispose();
        memory?.Dispose();
    }

    private StoreReader Of(Crid crid)
    {
        if (main.Header(crid) is not null) return main;
        return memory?.Header(crid) is not null ? memory : throw store.Unknown(crid);
    }
}
