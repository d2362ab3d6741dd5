using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Manifests;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Checks checkpoints on a snapshot: first everything down to the chunks that are referred to, then each frame once however
/// many checkpoints share it, then what is wrong with which page of whom.
/// </summary>
internal sealed class Verifier(StoreReader reader, VerifyOptions options, IProgress<StoreProgress>? progress, CancellationToken cancel)
{
    // Enough to see the extent of the damage; a lost disk must not fill memory with sentences.
    private const int MaxProblemsPerCheckpoint = 1000;

    private readonly List<VerifyProblem> _problems = [];
    private readonly List<string> _storeProblems = [];
    private readonly ChunkMarks _referred = new();
    private readonly HashSet<SegmentKey> _marked = [];
    private readonly Dictionary<SegmentKey, string> _badSegments = [];
    private readonly Dictionary<Crid, List<(Process Process, PageMap Map)>> _maps = [];

    /// <summary>Checks the given checkpoints; all, and the index too, if none are given or all are.</summary>
    public VerifyResult Run(IReadOnlyList<Crid> crids)
    {
        var existing = Existing();
        var unknown = crids.Where(c => !existing.Contains(c)).Distinct().ToList();
        if (unknown.Count > 0) throw new UsageException($"there is no CRID {string.Join(", ", unknown)} in the store", "crstore list shows what there is");
        var wanted = crids.Count == 0 ? existing : new SortedSet<Crid>(crids);
        var everything = wanted.Count == existing.Count;

        foreach (var crid in wanted)
        {
            cancel.ThrowIfCancellationRequested();
            progress?.Report(new StoreProgress("checking manifests and page maps", (ulong)_maps.Count, (ulong)wanted.Count));
            _maps[crid] = [];
            CheckManifest(crid);
        }

        var frames = new FrameVerifier(reader.Database, options, progress, cancel);
        var bad = frames.Check(_referred);
        if (everything) new IndexVerifier(reader.Database, _storeProblems, progress, cancel).Check(frames.Hashes);
        if (bad.Count > 0 || _badSegments.Count > 0)
            foreach (var crid in wanted) Blame(crid, bad);
        var broken = _problems.Select(p => p.Crid).ToHashSet();
        return new VerifyResult([.. wanted.Where(c => !broken.Contains(c))], [.. wanted.Where(broken.Contains)], _problems,
            frames.FramesRead, frames.PagesRead, _storeProblems);
    }

    private SortedSet<Crid> Existing()
    {
        var all = new SortedSet<Crid>();
        using var i = reader.Database.Iterate(ColumnFamily.Manifests);
        for (var there = i.SeekToFirst(); there; there = i.Next()) all.Add(Keys.CridOf(i.Key));
        return all;
    }

    private void CheckManifest(Crid crid)
    {
        var db = reader.Database;
        Try(crid, null, () =>
        {
            var header = ManifestCodec.DecodeHeader(crid, db.Get(ColumnFamily.Manifests, Keys.Crid(crid)));
            if (header.ParentCrid >= crid.Value) Problem(crid, null, null, null, $"its parent, CRID {header.ParentCrid}, is younger than itself");
        });
        Try(crid, null, () =>
        {
            var body = ManifestCodec.DecodeBody(crid, db.Get(ColumnFamily.Bodies, Keys.Crid(crid)));
            foreach (var process in body.Processes)
                if (!process.Zombie) Try(crid, process.Pid, () => CheckMap(crid, process));
        });
    }

    private void CheckMap(Crid crid, Process process)
    {
        var space = new SpaceId(process.Space);
        if (reader.Segments.Open(crid, space) is not { } map)
        {
            Problem(crid, process.Pid, null, null, "its page-map root is missing");
            return;
        }

        _maps[crid].Add((process, map));
        foreach (var entry in map.Entries)
        {
            if (entry.Uniform is not null) continue;
            for (var number = entry.First; number < entry.End; number++) Mark(entry.Key(number));
        }
    }

    private void Mark(SegmentKey key)
    {
        if (!_marked.Add(key)) return;
        var bytes = reader.Segments.Load(key.Writer, key.Space, key.Number);
        try
        {
            if (bytes.IsEmpty) throw new StoreDamagedException($"{key} is missing");
            foreach (var extent in SegmentCodec.Decode(key, bytes.Span).Extents)
                if (extent.Kind == PageKind.Chunk) _referred.Add(extent.First, extent.Length);
        }
        catch (StoreDamagedException e)
        {
            _badSegments[key] = e.Message;
        }
    }

    /// <summary>Finds the pages of a checkpoint that damaged segments and chunks belong to.</summary>
    private void Blame(Crid crid, BadChunks bad)
    {
        foreach (var (process, map) in _maps[crid])
        {
            foreach (var entry in map.Entries)
            {
                cancel.ThrowIfCancellationRequested();
                if (entry.Uniform is not null) continue;
                for (var number = entry.First; number < entry.End; number++)
                {
                    var key = entry.Key(number);
                    if (_badSegments.TryGetValue(key, out var text)) BlameSegment(crid, process, key, text);
                    else if (bad.Count > 0) BlamePages(crid, process, map.Load(key), bad);
                }
            }
        }
    }

    private void BlameSegment(Crid crid, Process process, SegmentKey key, string text)
    {
        var hit = process.Vmas.Where(v => v.Start < key.Range.End.Address && v.End > key.Range.Start.Address).ToList();
        foreach (var vma in hit) Problem(crid, process, vma, new VirtualPage(Math.Max(VirtualPage.Of(vma.Start).Number, key.Range.Start.Number)), text);
        if (hit.Count == 0) Problem(crid, process, null, key.Range.Start, text);
    }

    private void BlamePages(Crid crid, Process process, Segment segment, BadChunks bad)
    {
        foreach (var extent in segment.Extents)
        {
            if (extent.Kind != PageKind.Chunk) continue;
            for (uint i = 0; i < extent.Length; i++)
            {
                var location = extent.First with { Ordinal = extent.First.Ordinal + i };
                if (bad.Find(location) is not { } text) continue;
                var page = Segment.RangeOf(segment.Number, 1).Start + extent.Start + i;
                Problem(crid, process, VmaLedger.Find(process, page), page, text);
            }
        }
    }

    private void Try(Crid crid, int? pid, Action check)
    {
        try
        {
            check();
        }
        catch (StoreDamagedException e)
        {
            Problem(crid, pid, null, null, e.Message);
        }
    }

    private void Problem(Crid crid, Process process, Vma? vma, VirtualPage page, string text) =>
        Problem(crid, process.Pid, vma is null ? null : $"0x{vma.Start:x}-0x{vma.End:x} {vma.Name}".TrimEnd(), page.Address, text);

    private void Problem(Crid crid, int? pid, string? vma, ulong? page, string text)
    {
        var sofar = _problems.Count(p => p.Crid == crid);
        if (sofar < MaxProblemsPerCheckpoint) _problems.Add(new VerifyProblem(crid, pid, vma, page, text));
        else if (sofar == MaxProblemsPerCheckpoint) _problems.Add(new VerifyProblem(crid, null, null, null, "there is more that is wrong; these are the first 1000 pages"));
    }
}
