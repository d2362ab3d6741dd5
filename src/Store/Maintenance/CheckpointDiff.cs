using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.PageMaps;
using Crstore.Store.Reading;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Compares two checkpoints. Pages with one location are equal; at different locations their content addresses decide (two
/// captures that ran at once may both have stored a page, and they may be in two stores: CRIDs are counted in one). An absent page of memory that is saved reads as zero.
/// </summary>
internal sealed class CheckpointDiff(StoreReader readerA, CheckpointManifest a, StoreReader readerB, CheckpointManifest b, IProgress<StoreProgress>? progress, CancellationToken cancel)
{
    private static readonly Process Nobody = new();
    private readonly ChunkLookup _chunksA = new(readerA.Database), _chunksB = new(readerB.Database);

    /// <summary>Compares.</summary>
    /// <exception cref="StoreDamagedException">What has to be read is damaged.</exception>
    public DiffResult Run()
    {
        var spaces = new List<DiffSpace>();
        var before = ByPid(a);
        var after = ByPid(b);
        foreach (var pid in before.Keys.Union(after.Keys).Order())
        {
            progress?.Report(new StoreProgress("comparing processes", (ulong)spaces.Count, (ulong)Math.Max(before.Count, after.Count)));
            spaces.Add(Compare(before.GetValueOrDefault(pid), after.GetValueOrDefault(pid)));
        }

        return new DiffResult(a.Crid, b.Crid, spaces);
    }

    private static SortedDictionary<int, Process> ByPid(CheckpointManifest manifest)
    {
        var processes = new SortedDictionary<int, Process>();
        foreach (var process in manifest.Body.Processes)
            if (!process.Zombie) processes[process.Pid] = process;
        return processes;
    }

    private DiffSpace Compare(Process? before, Process? after)
    {
        var vmas = new VmaLedger(before ?? Nobody, after ?? Nobody);
        foreach (var change in PageMapDiff.Changes(Map(readerA, a, before), Map(readerB, b, after)))
        {
            cancel.ThrowIfCancellationRequested();
            foreach (var (range, vma) in vmas.Split(change.Range))
            {
                if (change is { Before.Kind: PageKind.Chunk, After.Kind: PageKind.Chunk }) CompareContent(change, range, vmas, vma);
                else if (!BothReadZero(change, range, vmas)) vmas.Changed(vma, range);
            }
        }

        var named = after ?? before!;
        var found = vmas.Result();
        return new DiffSpace(named.Pid, named.Comm, found.Aggregate(0UL, (sum, v) => sum + v.PagesChanged), found);
    }

    private void CompareContent(PageChange change, PageRange range, VmaLedger vmas, int vma)
    {
        for (var page = range.Start; page.Number < range.End.Number; page += 1)
        {
            var (before, after) = (change.Before.LocationOf(page), change.After.LocationOf(page));
            if (_chunksA.HashStart(before) != _chunksB.HashStart(after) || _chunksA.Hash(before) != _chunksB.Hash(after)) vmas.Changed(vma, new PageRange(page, 1));
        }
    }

    /// <summary>Absent and zero are the same where absent pages read as zero on both sides, and not those of a file.</summary>
    private static bool BothReadZero(PageChange change, PageRange range, VmaLedger vmas) =>
        change.Before.Kind is PageKind.Absent or PageKind.Zero && change.After.Kind is PageKind.Absent or PageKind.Zero && vmas.AbsentReadsZero(range.Start);

    private static PageMap Map(StoreReader reader, CheckpointManifest manifest, Process? process)
    {
        if (process is null) return new PageMap(manifest.Crid, default, RootCodec.Encode(manifest.Crid, default, []), reader.Segments);
        var space = new SpaceId(process.Space);
        return reader.Segments.Open(manifest.Crid, space)
            ?? throw new StoreDamagedException($"CRID {manifest.Crid}, process {process.Pid}: its page-map root is missing");
    }
}
