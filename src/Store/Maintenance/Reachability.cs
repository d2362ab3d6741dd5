using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Manifests;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Store.Reading;

namespace Crstore.Store.Maintenance;

/// <summary>
/// What the committed checkpoints reach: the mark phase of gc. Goes by the roots: a manifest's header or body may be
/// damaged, its pages are kept all the same. A root, a segment or a patch group that is damaged, or missing, stops it: what it
/// would have reached is unknown.
/// </summary>
internal sealed class Reachability
{
    private Reachability()
    {
    }

    /// <summary>Chunks that some page map refers to, and the anchors of those that are patches.</summary>
    public ChunkMarks Chunks { get; } = new();

    /// <summary>Segments that some root refers to.</summary>
    public HashSet<SegmentKey> Segments { get; } = [];

    /// <summary>Segments that some of these differ from, whether a root refers to them or not: what else they name is not reached by that.</summary>
    public HashSet<SegmentKey> Bases { get; } = [];

    /// <summary>Committed checkpoints.</summary>
    public HashSet<Crid> Committed { get; } = [];

    /// <summary>True if a segment must stay.</summary>
    public bool Keeps(in SegmentKey segment) => Segments.Contains(segment) || Bases.Contains(segment);

    /// <summary>Marks.</summary>
    /// <exception cref="StoreDamagedException">A root, a segment or a patch group is missing or damaged.</exception>
    public static Reachability Mark(RocksDb db, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        var marks = new Reachability();
        using (var i = db.Iterate(ColumnFamily.Manifests))
            for (var there = i.SeekToFirst(); there; there = i.Next()) marks.Committed.Add(Keys.CridOf(i.Key));
        var source = new StoreSegments(db);
        var seen = new HashSet<Crid>();
        var roots = new HashSet<(Crid, SpaceId)>();
        foreach (var (crid, space, root) in MapScan.Roots(db))
        {
            cancel.ThrowIfCancellationRequested();
            if (!marks.Committed.Contains(crid)) continue;
            roots.Add((crid, space));
            if (seen.Add(crid)) progress?.Report(new StoreProgress("marking", (ulong)seen.Count, (ulong)marks.Committed.Count));
            foreach (var entry in RootCodec.Decode(crid, space, root))
            {
                if (entry.Uniform is not null) continue;
                for (var number = entry.First; number < entry.End; number++)
                    if (marks.Segments.Add(entry.Key(number))) marks.Mark(source, entry.Key(number), crid);
            }
        }

        foreach (var crid in marks.Committed.Order())
        {
            cancel.ThrowIfCancellationRequested();
            CheckRoots(db, crid, roots);
        }

        AnchorMarks.Add(db, marks.Chunks, progress, cancel);
        return marks;
    }

    /// <summary>Every process that has memory has a root. Only a body that can be read can tell that one is missing.</summary>
    private static void CheckRoots(RocksDb db, Crid crid, HashSet<(Crid, SpaceId)> roots)
    {
        CheckpointBody body;
        try
        {
            body = ManifestCodec.DecodeBody(crid, db.Get(ColumnFamily.Bodies, Keys.Crid(crid)));
        }
        catch (StoreDamagedException)
        {
            return; // verify's business: the roots that are there count
        }

        foreach (var process in body.Processes)
            if (!process.Zombie && !roots.Contains((crid, new SpaceId(process.Space))))
                throw new StoreDamagedException($"CRID {crid}, process {process.Pid}: its page-map root is missing, so what it reaches is unknown",
                    $"`crstore forget {crid}`, then gc works again");
    }

    private void Mark(StoreSegments source, SegmentKey key, Crid crid)
    {
        var segment = SegmentLoader.Load(source, key, crid);
        if (segment.Base is { } from) Bases.Add(from);
        foreach (var extent in segment.Extents)
            if (extent.Kind == PageKind.Chunk) Chunks.Add(extent.First, extent.Length);
    }
}
