using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Store.Reading;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Who reaches a patch reaches its anchor. The groups themselves say which chunks these are, and are read for it: they are small,
/// and no second record has to agree with them.
/// </summary>
internal static class AnchorMarks
{
    /// <summary>Adds the anchors of all patches that are marked.</summary>
    /// <exception cref="StoreDamagedException">A group is missing or damaged: which chunks its patches need is unknown.</exception>
    public static void Add(RocksDb db, ChunkMarks marks, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        if (marks.Patches == 0) return;
        ulong done = 0;
        foreach (var crid in marks.Crids.ToList())
        {
            var wanted = marks.Groups(crid).ToList();
            if (wanted.Count == 0) continue;
            try
            {
                Scan(db, wanted, marks, cancel);
            }
            catch (StoreDamagedException)
            {
                // Perhaps of a group beside them that nobody reaches: one by one, only what is needed counts.
                foreach (var (id, slots) in wanted) AddOne(db, id, slots, marks);
            }

            progress?.Report(new StoreProgress("marking what patches change", done += (ulong)wanted.Count, 0));
        }
    }

    /// <summary>
    /// Adds the anchors of all patches, reached or not, of CRIDs that came after gc's first look: a commit may have indexed patches that its own
    /// page maps don't name (a page given twice), and a capture that finds one there relies on its anchor.
    /// </summary>
    /// <param name="db">The store.</param>
    /// <param name="first">The first look.</param>
    /// <param name="now">The second one; added to.</param>
    /// <param name="cancel">Asked.</param>
    /// <exception cref="StoreDamagedException">Not all patches of a checkpoint that was committed since can be read. To the next gc it is no newcomer.</exception>
    public static void AddOfNewcomers(RocksDb db, Condemned first, Reachability now, CancellationToken cancel)
    {
        var known = first.WithChunks.ToHashSet();
        foreach (var crid in CridScan.Of(db, ColumnFamily.Patches, PassOver))
        {
            cancel.ThrowIfCancellationRequested();
            if (known.Contains(crid)) continue;
            if (CridScan.Records(db, ColumnFamily.Patches, crid, i => AddAll(Keys.PatchGroupOf(i.Key), i.Value.ToArray(), now.Chunks)) is { } damage) PassOver(crid, damage);
        }

        // Nobody could have found patches of what was not committed. Behind a block that can't be read there may be others that can.
        void PassOver(Crid crid, StoreDamagedException damage)
        {
            if (now.Committed.Contains(crid) && !first.Live.Committed.Contains(crid))
                throw new StoreDamagedException($"what the patches of CRID {crid} change, which was committed beside this gc, is unknown: {damage.Message}", "nothing was freed; the next gc can do without", damage);
        }
    }

    private static void AddAll(PatchGroupId id, byte[] bytes, ChunkMarks marks)
    {
        try
        {
            var group = PatchGroup.Parse(id, bytes);
            Add(group, group.Live, marks);
        }
        catch (StoreDamagedException)
        {
            // Marking has read what anybody needs: nobody needs this, and nobody could read it. The others behind it count.
        }
    }

    /// <summary>In stored order, without a lookup each.</summary>
    private static void Scan(RocksDb db, List<(PatchGroupId Group, ulong Slots)> wanted, ChunkMarks marks, CancellationToken cancel)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.PatchGroup(wanted[0].Group, key);
        using var i = db.Iterate(ColumnFamily.Patches);
        var there = i.Seek(key);
        foreach (var (id, slots) in wanted)
        {
            cancel.ThrowIfCancellationRequested();
            while (there && Keys.PatchGroupOf(i.Key) is var at && at.Crid == id.Crid && at.Number < id.Number) there = i.Next();
            if (!there || Keys.PatchGroupOf(i.Key) != id) throw new StoreDamagedException($"{id}: missing");
            Add(PatchGroup.Parse(id, i.Value.ToArray()), slots, marks);
        }
    }

    private static void Add(PatchGroup group, ulong slots, ChunkMarks marks)
    {
        for (var slot = 0; slot < PatchGroupId.Slots; slot++)
            if ((slots >> slot & 1) != 0) marks.Add(group.Anchor(slot));
    }

    private static void AddOne(RocksDb db, PatchGroupId id, ulong slots, ChunkMarks marks)
    {
        try
        {
            Add(ChunkLookup.LoadGroup(db, id), slots, marks);
        }
        catch (StoreDamagedException e)
        {
            throw new StoreDamagedException($"{(e.Message.Contains($"{id}", StringComparison.Ordinal) ? "" : $"{id}: ")}{e.Message}, so what its patches change is unknown", "`crstore verify --all` names the checkpoints that need it: forget them, then gc works again", e);
        }
    }
}
