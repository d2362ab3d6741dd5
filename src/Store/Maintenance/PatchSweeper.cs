using System.Numerics;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Store.Reading;

namespace Crstore.Store.Maintenance;

/// <summary>The part of <see cref="Sweeper"/> that patch groups need: as frames, but small, and read by both looks already.</summary>
internal sealed class PatchSweeper(Condemned condemned, Reachability now, Compression compression, GcTally tally)
{
    private const ulong GroupsPerCompaction = 1 << 16; // about 1 GiB at most
    private const int WorthRewriting = 2; // as with frames
    private const ulong BatchBytes = 8 << 20;
    private readonly List<PatchGroupId> touched = [];

    /// <summary>Groups that don't unpack, or can't be read at all: no capture shall find their patches any more.</summary>
    public HashSet<PatchGroupId> Damaged { get; } = [];

    /// <summary>
    /// Groups of a CRID that may have dead patches: those whose index entries were dropped, and those that nobody reaches, which have none if all
    /// of their patches were stored again (<see cref="Writing.PatchCleaner"/>): the index has these where they are now.
    /// </summary>
    public List<PatchGroupId> Suspects(RocksDb db, Crid crid)
    {
        var suspects = new List<PatchGroupId>();
        ulong seen = 0;
        var damage = CridScan.Records(db, ColumnFamily.Patches, crid, i =>
        {
            var id = Keys.PatchGroupOf(i.Key);
            seen++;
            if (condemned.Thorough || condemned.Chunks.Slots(id) != 0 || Live(id) == 0) suspects.Add(id);
        });
        if (damage is null) return suspects;
        tally.LeftAlone[$"what follows the first {seen} patch groups of CRID {crid}"] = damage.Message;
        return [.. suspects.Union(condemned.Chunks.Groups(crid).Select(g => g.Group))];
    }

    /// <summary>Deletes groups without live patches, and rewrites those of which at least half is dead.</summary>
    public void Drop(RocksDb db, PatchGroupId[] groups)
    {
        var batch = db.NewBatch();
        try
        {
            Span<byte> key = stackalloc byte[Keys.FrameSize];
            foreach (var id in groups)
            {
                var live = Live(id);
                Keys.PatchGroup(id, key);
                if (live == 0) DropWhole(db, batch, key, id);
                else if (BitOperations.PopCount(live) * WorthRewriting <= PatchGroupId.Slots) Rewrite(db, batch, key, id, live);
                if (batch.BytesPut < BatchBytes) continue;
                db.Write(batch);
                batch.Dispose();
                batch = db.NewBatch();
            }

            db.Write(batch);
        }
        finally
        {
            batch.Dispose();
        }

        FaultPoint.Hit("gc.patches-rewritten");
    }

    /// <summary>All groups of a CRID that is dead as a whole, their files too.</summary>
    public void DropCrid(RocksDb db, RocksWriteBatch batch, Crid crid)
    {
        if (!Count(db, crid)) return;
        var (from, to) = (Keys.Crid(crid), Keys.Crid(new Crid(crid.Value + 1)));
        db.DeleteFilesInRange(ColumnFamily.Patches, from, to);
        batch.DeleteRange(ColumnFamily.Patches, from, to);
        touched.Add(new PatchGroupId(crid, 0));
        touched.Add(new PatchGroupId(crid, uint.MaxValue));
    }

    /// <summary>Live patches whose index entry was dropped, by this gc or by one that did not finish.</summary>
    public IEnumerable<(PatchGroupId Group, ulong Slots)> Revived()
    {
        foreach (var (id, slots) in now.Chunks.Groups())
        {
            var suspects = condemned.Thorough ? slots : slots & condemned.Chunks.Slots(id);
            if (suspects != 0) yield return (id, suspects);
        }
    }

    /// <summary>Makes them findable again.</summary>
    public void RestoreIndex(RocksDb db, (PatchGroupId Group, ulong Slots)[] groups) => IndexRepair.Add(db, Chunks(db, groups));

    private IEnumerable<(ContentHash, ChunkLocation)> Chunks(RocksDb db, (PatchGroupId Group, ulong Slots)[] groups)
    {
        foreach (var (id, suspects) in groups)
        {
            if (TryLoad(db, id) is not { } group) continue;
            for (var slot = 0; slot < group.Slots; slot++)
                if ((suspects >> slot & 1) != 0 && group.IsLive(slot)) yield return (group.Hash(slot), id.Location(slot));
        }
    }

    /// <summary>Gives the space back, around what was touched.</summary>
    public IEnumerable<Action<RocksDb>> Compactions()
    {
        var sorted = touched.OrderBy(g => g.Crid).ThenBy(g => g.Number).ToList();
        for (var first = 0; first < sorted.Count;)
        {
            var last = first;
            for (ulong groups = 0; last + 1 < sorted.Count && groups < GroupsPerCompaction; last++)
                groups += sorted[last].Crid == sorted[last + 1].Crid ? Math.Min(sorted[last + 1].Number - sorted[last].Number, 1024u) : 1024u;
            var (from, to) = (sorted[first], sorted[last]);
            yield return db => Compact(db, from, to);
            first = last + 1;
        }
    }

    /// <summary>The patches whose anchors lie in one of these frames, whoever reaches them.</summary>
    /// <param name="db">The store.</param>
    /// <param name="frames">The frames.</param>
    /// <param name="unreadable">CRIDs not all of whose groups could be looked at: any patch of theirs may be one.</param>
    public ChunkMarks To(RocksDb db, HashSet<FrameId> frames, out HashSet<Crid> unreadable)
    {
        var patches = new ChunkMarks();
        var bad = unreadable = [];
        if (frames.Count == 0) return patches;
        foreach (var crid in CridScan.Of(db, ColumnFamily.Patches, (crid, _) => bad.Add(crid)))
            if (CridScan.Records(db, ColumnFamily.Patches, crid, Look) is not null) bad.Add(crid);
        return patches;

        void Look(RocksIterator at)
        {
            var id = Keys.PatchGroupOf(at.Key);
            try
            {
                var group = PatchGroup.Parse(id, at.Value.ToArray());
                for (var slot = 0; slot < group.Slots; slot++)
                    if (group.IsLive(slot) && frames.Contains(FrameId.Of(group.Anchor(slot)))) patches.Add(id.Location(slot));
            }
            catch (StoreDamagedException)
            {
                Damaged.Add(id);
            }
        }
    }

    /// <summary>Both looks' live slots.</summary>
    private ulong Live(PatchGroupId group) => condemned.Live.Chunks.Slots(group) | now.Chunks.Slots(group);

    private static void Compact(RocksDb db, PatchGroupId from, PatchGroupId to)
    {
        Span<byte> first = stackalloc byte[Keys.FrameSize];
        Span<byte> last = stackalloc byte[Keys.FrameSize];
        Keys.PatchGroup(from, first);
        Keys.PatchGroup(to, last);
        db.Compact(ColumnFamily.Patches, first, last, rewriteBottom: true);
    }

    /// <summary>Null if it is not there, or damaged since marking has read it: then it is noted as such.</summary>
    private PatchGroup? TryLoad(RocksDb db, PatchGroupId id)
    {
        try
        {
            return ChunkLookup.LoadGroup(db, id);
        }
        catch (StoreDamagedException)
        {
            Damaged.Add(id);
            return null;
        }
    }

    private static ulong SlotsOf(ReadOnlySpan<byte> group) => group.Length > 12 ? (ulong)BitOperations.PopCount(System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(group[4..])) : 0;

    /// <summary>What goes with a CRID, for the tally: as with frames, the groups are looked at only if the index does not know them. False if it has none.</summary>
    private bool Count(RocksDb db, Crid crid)
    {
        ulong groups = 0, patches = 0;
        foreach (var (_, slots) in condemned.Chunks.Groups(crid))
        {
            groups++;
            patches += (ulong)BitOperations.PopCount(slots);
        }

        StoreDamagedException? damage = null;
        if (groups == 0 || condemned.Thorough)
        {
            (groups, patches) = (0, 0);
            damage = CridScan.Records(db, ColumnFamily.Patches, crid, at =>
            {
                groups++;
                patches += SlotsOf(at.Value);
            });
        }

        tally.FramesDeleted += groups;
        tally.Chunks += patches;
        return groups > 0 || damage is not null;
    }

    private void DropWhole(RocksDb db, RocksWriteBatch batch, ReadOnlySpan<byte> key, PatchGroupId id)
    {
        if (!tally.TryGet(db, ColumnFamily.Patches, key, $"{id}", out var bytes)) return;
        batch.Delete(ColumnFamily.Patches, key);
        tally.FramesDeleted++;
        tally.Chunks += SlotsOf(bytes);
        touched.Add(id);
    }

    private void Rewrite(RocksDb db, RocksWriteBatch batch, ReadOnlySpan<byte> key, PatchGroupId id, ulong live)
    {
        if (TryLoad(db, id) is not { } group) return;
        var dead = group.Live & ~live;
        if (dead == 0 || (group.Live & live) != 0 && BitOperations.PopCount(group.Live & live) * WorthRewriting > group.LiveCount) return;
        byte[]? rest;
        try
        {
            rest = group.Without(dead, compression);
        }
        catch (StoreDamagedException)
        {
            Damaged.Add(id); // live patches in it: leave it for verify, as it is
            return;
        }

        if (rest is not null)
        {
            batch.Put(ColumnFamily.Patches, key, rest);
            tally.FramesRewritten++;
        }
        else
        {
            batch.Delete(ColumnFamily.Patches, key);
            tally.FramesDeleted++;
        }

        tally.Chunks += (ulong)BitOperations.PopCount(dead);
        touched.Add(id);
    }
}
