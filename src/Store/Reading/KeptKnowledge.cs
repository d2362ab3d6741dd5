using System.Diagnostics;
using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;

namespace Crstore.Store.Reading;

/// <summary>
/// What the captures of a process that keeps the store open have learned of it, for the next one. It outlives the store's being open, and anybody may have
/// written in between. So each capture asks for the proof that it still holds: the store has the last checkpoint that this process committed, byte for byte,
/// so it is that store, or what became of it; and no gc has begun since, nor was one under way or cut short. gc alone takes anything away that is referred
/// to by its place, and what is at a place never changes (docs/FORMAT.md, invariants 5 and 6). One capture uses it at a time.
/// </summary>
/// <param name="segmentLimit">So long segments are kept: all that comes builds on them, so damage to what is stored of them must be met soon.</param>
internal sealed class KeptKnowledge(TimeSpan segmentLimit)
{
    private const long SegmentBytes = 32 << 20; // the working set is 25 bytes a page where pages change anywhere, and its half more: 700 MiB of such memory
    private long since = Stopwatch.GetTimestamp(); // segments are kept
    private Proof? proof;
    private ulong? generation; // that the capture under way began under; null if a gc was not at its end

    /// <summary>Pages that patches were made against.</summary>
    public AnchorPages Anchors { get; } = new();

    /// <summary>Decoded page-map segments.</summary>
    public SegmentCache Segments { get; } = new(SegmentBytes);

    /// <summary>A capture begins to look at the store: what can't be proven to hold is forgotten, or doubted.</summary>
    public void Begin(RocksDb db)
    {
        var now = StoreMeta.Read(db, StoreMeta.GcGeneration);
        generation = StoreMeta.Read(db, StoreMeta.GcDone) == now ? now : null;
        var holds = proof is { } before && before.Generation == generation && before.IsIn(db);
        proof = null; // unless it gets to its commit
        if (!holds) Anchors.Doubt();
        if (holds && Stopwatch.GetElapsedTime(since) < segmentLimit) return;
        Segments.Clear();
        since = Stopwatch.GetTimestamp();
    }

    /// <summary>The capture that has begun is committed: what it learned, and what held for it, holds for the next one.</summary>
    /// <param name="store">Where it is.</param>
    /// <param name="crid">Its CRID.</param>
    /// <param name="header">Its header as it is stored.</param>
    public void Committed(Guid store, Crid crid, byte[] header)
    {
        if (generation is { } calm) proof = new Proof(store, crid, header, calm);
    }

    private sealed record Proof(Guid Store, Crid Crid, byte[] Header, ulong Generation)
    {
        public bool IsIn(RocksDb db)
        {
            if (StoreMeta.StoreId(db) != Store) return false;
            using var there = db.GetPinned(ColumnFamily.Manifests, Keys.Crid(Crid));
            return there.Exists && there.Span.SequenceEqual(Header);
        }
    }
}
