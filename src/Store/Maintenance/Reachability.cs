using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Store.Reading;

namespace Crstore.Store.Maintenance;

/// <summary>
/// What the committed checkpoints reach: the mark phase of gc. Goes by the roots alone: a manifest's header or body may be
/// damaged, its pages are kept all the same. Damage in a root or segment stops it: what it would have reached is unknown.
/// </summary>
internal sealed class Reachability
{
    private Reachability()
    {
    }

    /// <summary>Chunks that some page map refers to.</summary>
    public ChunkMarks Chunks { get; } = new();

    /// <summary>Segments that some root refers to.</summary>
    public HashSet<SegmentKey> Segments { get; } = [];

    /// <summary>Committed checkpoints.</summary>
    public HashSet<Crid> Committed { get; } = [];

    /// <summary>Marks.</summary>
    /// <exception cref="StoreDamagedException">A root or a segment is missing or damaged.</exception>
    public static Reachability Mark(RocksDb db, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        var marks = new Reachability();
        using (var i = db.Iterate(ColumnFamily.Manifests))
            for (var there = i.SeekToFirst(); there; there = i.Next()) marks.Committed.Add(Keys.CridOf(i.Key));
        var source = new StoreSegments(db);
        var seen = new HashSet<Crid>();
        foreach (var (crid, space, root) in MapScan.Roots(db))
        {
            cancel.ThrowIfCancellationRequested();
            if (!marks.Committed.Contains(crid)) continue;
            if (seen.Add(crid)) progress?.Report(new StoreProgress("marking", (ulong)seen.Count, (ulong)marks.Committed.Count));
            foreach (var entry in RootCodec.Decode(crid, space, root))
            {
                if (entry.Uniform is not null) continue;
                for (var number = entry.First; number < entry.End; number++)
                    if (marks.Segments.Add(entry.Key(number))) marks.Mark(source, entry.Key(number), crid);
            }
        }

        return marks;
    }

    private void Mark(StoreSegments source, SegmentKey key, Crid crid)
    {
        var bytes = source.Load(key.Writer, key.Space, key.Number);
        if (bytes.IsEmpty) throw new StoreDamagedException($"{key}, which the page map of CRID {crid} refers to, is missing");
        foreach (var extent in SegmentCodec.Decode(key, bytes.Span).Extents)
            if (extent.Kind == PageKind.Chunk) Chunks.Add(extent.First, extent.Length);
    }
}
