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
    private readonly Dictionary<Crid, int> _counts = [];

    /// <summary>Checks the given checkpoints; all, and the index too, if none are given or all are.</summary>
    public VerifyResult Run(IReadOnlyList<Crid> crids)
    {
        var existing = Existing();
        var unknown = crids.Where(c => !existing.Contains(c)).Distinct().ToList();
        if (unknown.Count > 0) throw new UsageException($"there is no CRID {string.Join(", ", unknown)} in the store", "`crstore list` shows what there is");
        var wanted = crids.Count == 0 ? existing : new SortedSet<Crid>(crids);
        var everything = wanted.Count == existing.Count;

        ulong done = 0;
        foreach (var crid in wanted)
        {
            cancel.ThrowIfCancellationRequested();
            progress?.Report(new StoreProgress("checking manifests and page maps", done++, (ulong)wanted.Count));
            CheckHeader(crid);
            CheckBody(crid, Mark, Problem);
        }

        var bad = new BadChunks();
        var patches = new PatchVerifier(reader.Database, options, bad, progress, cancel);
        var frames = new FrameVerifier(reader.Database, options, bad, progress, cancel);
        patches.AddAnchors(_referred);
        frames.Check(_referred);
        patches.Run(_referred, frames.Hashes);
        if (everything) CheckIndex(frames.Hashes);
        if (bad.Count > 0 || _badSegments.Count > 0)
            foreach (var crid in wanted) Blame(crid, bad);
        var broken = _problems.Select(p => p.Crid).ToHashSet();
        return new VerifyResult([.. wanted.Where(c => !broken.Contains(c))], [.. wanted.Where(broken.Contains)], _problems,
            frames.FramesRead + patches.GroupsRead, frames.PagesRead + patches.PagesRead, _storeProblems);
    }

    private SortedSet<Crid> Existing()
    {
        var all = new SortedSet<Crid>();
        using var i = reader.Database.Iterate(ColumnFamily.Manifests);
        for (var there = i.SeekToFirst(); there; there = i.Next()) all.Add(Keys.CridOf(i.Key));
        return all;
    }

    private void CheckIndex(HashPrefixes known)
    {
        try
        {
            new IndexVerifier(reader.Database, _storeProblems, progress, cancel).Check(known);
        }
        catch (StoreDamagedException e)
        {
            _storeProblems.Add(e.Message); // RocksDB can't read on: the rest of the index is unknown
        }
    }

    private void CheckHeader(Crid crid)
    {
        try
        {
            var header = ManifestCodec.DecodeHeader(crid, reader.Database.Get(ColumnFamily.Manifests, Keys.Crid(crid)));
            if (header.ParentCrid >= crid.Value) Problem(crid, null, $"its parent, CRID {header.ParentCrid}, is younger than itself");
        }
        catch (StoreDamagedException e)
        {
            Problem(crid, null, e.Message);
        }
    }

    /// <summary>Walks over all segments that a checkpoint's page maps name.</summary>
    private void CheckBody(Crid crid, Action<SegmentUse> segment, Action<Crid, int?, string> problem)
    {
        CheckpointBody body;
        try
        {
            body = ManifestCodec.DecodeBody(crid, reader.Database.Get(ColumnFamily.Bodies, Keys.Crid(crid)));
        }
        catch (StoreDamagedException e)
        {
            problem(crid, null, e.Message);
            return;
        }

        foreach (var process in body.Processes)
        {
            if (process.Zombie) continue;
            try
            {
                var map = reader.Segments.Open(crid, new SpaceId(process.Space)) ?? throw new StoreDamagedException("its page-map root is missing");
                foreach (var entry in map.Entries)
                {
                    if (entry.Uniform is not null) continue;
                    cancel.ThrowIfCancellationRequested();
                    for (var number = entry.First; number < entry.End; number++) segment(new SegmentUse(process, map, entry.Key(number)));
                }
            }
            catch (StoreDamagedException e)
            {
                problem(crid, process.Pid, e.Message);
            }
        }
    }

    private readonly record struct SegmentUse(Process Process, PageMap Map, SegmentKey Key);

    private void Mark(SegmentUse use)
    {
        var key = use.Key;
        if (!_marked.Add(key)) return;
        try
        {
            foreach (var extent in use.Map.Load(key).Extents)
                if (extent.Kind == PageKind.Chunk) _referred.Add(extent.First, extent.Length);
        }
        catch (StoreDamagedException e)
        {
            _badSegments[key] = e.Message;
        }
    }

    /// <summary>Finds the pages of a checkpoint that damaged segments and chunks belong to.</summary>
    private void Blame(Crid crid, BadChunks bad) => CheckBody(crid, use =>
    {
        if (_badSegments.TryGetValue(use.Key, out var text)) BlameSegment(crid, use.Process, use.Key, text);
        else if (bad.Count > 0) BlamePages(crid, use.Process, use.Map.Load(use.Key), bad);
    }, (_, _, _) => { }); // said the first time

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

    private void Problem(Crid crid, int? pid, string text) => Problem(new VerifyProblem(crid, pid, null, null, text));

    private void Problem(Crid crid, Process process, Vma? vma, VirtualPage page, string text) => Problem(new VerifyProblem(crid, process.Pid,
        vma is null ? null : $"0x{vma.Start:x}-0x{vma.End:x} {vma.Name}".TrimEnd(), page.Address, text));

    private void Problem(VerifyProblem problem)
    {
        var count = _counts[problem.Crid] = _counts.GetValueOrDefault(problem.Crid) + 1;
        if (count <= MaxProblemsPerCheckpoint) _problems.Add(problem);
        else if (count == MaxProblemsPerCheckpoint + 1)
            _problems.Add(new VerifyProblem(problem.Crid, null, null, null, $"there is more that is wrong; these are the first {MaxProblemsPerCheckpoint} pages"));
    }
}
