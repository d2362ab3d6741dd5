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

    /// <summary>Groups of a CRID that may have dead patches.</summary>
    public List<PatchGroupId> Suspects(RocksDb db, Crid crid)
    {
        if (!condemned.Thorough) return [.. condemned.Chunks.Groups(crid).Select(g => g.Group)];
        var all = new List<PatchGroupId>();
        using var i = db.Iterate(ColumnFamily.Patches);
        for (var there = i.Seek(Keys.Crid(crid)); there && Keys.CridOf(i.Key) == crid; there = i.Next()) all.Add(Keys.PatchGroupOf(i.Key));
        return all;
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
                var live = condemned.Live.Chunks.Slots(id) | now.Chunks.Slots(id);
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
        using (var i = db.Iterate(ColumnFamily.Patches))
        {
            if (!i.Seek(Keys.Crid(crid)) || Keys.CridOf(i.Key) != crid) return;
            var (groups, patches) = Count(i, crid);
            tally.FramesDeleted += groups;
            tally.Chunks += patches;
        }

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
    public static void RestoreIndex(RocksDb db, (PatchGroupId Group, ulong Slots)[] groups) => IndexRepair.Add(db, Chunks(db, groups));

    private static IEnumerable<(ContentHash, ChunkLocation)> Chunks(RocksDb db, (PatchGroupId Group, ulong Slots)[] groups)
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
    public ChunkMarks To(RocksDb db, HashSet<FrameId> frames)
    {
        var patches = new ChunkMarks();
        if (frames.Count == 0) return patches;
        using var i = db.Iterate(ColumnFamily.Patches);
        for (var there = i.SeekToFirst(); there; there = i.Next())
        {
            var id = Keys.PatchGroupOf(i.Key);
            try
            {
                var group = PatchGroup.Parse(id, i.Value.ToArray());
                for (var slot = 0; slot < group.Slots; slot++)
                    if (group.IsLive(slot) && frames.Contains(FrameId.Of(group.Anchor(slot)))) patches.Add(id.Location(slot));
            }
            catch (StoreDamagedException)
            {
                Damaged.Add(id);
            }
        }

        return patches;
    }

    private static void Compact(RocksDb db, PatchGroupId from, PatchGroupId to)
    {
        Span<byte> first = stackalloc byte[Keys.FrameSize];
        Span<byte> last = stackalloc byte[Keys.FrameSize];
        Keys.PatchGroup(from, first);
        Keys.PatchGroup(to, last);
        db.Compact(ColumnFamily.Patches, first, last, rewriteBottom: true);
    }

    /// <summary>Null if it is not there, or damaged: marking has read all that anybody needs, so nobody does.</summary>
    private static PatchGroup? TryLoad(RocksDb db, PatchGroupId id)
    {
        try
        {
            return ChunkLookup.LoadGroup(db, id);
        }
        catch (StoreDamagedException)
        {
            return null;
        }
    }

    private static ulong SlotsOf(ReadOnlySpan<byte> group) => group.Length > 12 ? (ulong)BitOperations.PopCount(System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(group[4..])) : 0;

    /// <summary>What goes with a CRID, for the tally: as with frames, the groups are looked at only if the index does not know them.</summary>
    private (ulong Groups, ulong Patches) Count(RocksIterator at, Crid crid)
    {
        ulong groups = 0, patches = 0;
        foreach (var (_, slots) in condemned.Chunks.Groups(crid))
        {
            groups++;
            patches += (ulong)BitOperations.PopCount(slots);
        }

        if (groups > 0 && !condemned.Thorough) return (groups, patches);
        (groups, patches) = (0, 0);
        for (var there = true; there && Keys.CridOf(at.Key) == crid; there = at.Next())
        {
            groups++;
            patches += SlotsOf(at.Value);
        }

        return (groups, patches);
    }

    private void DropWhole(RocksDb db, RocksWriteBatch batch, ReadOnlySpan<byte> key, PatchGroupId id)
    {
        if (db.Get(ColumnFamily.Patches, key) is not { } bytes) return;
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
