using System.Runtime.InteropServices;
using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Store.Reading;

namespace Crstore.Store.Writing;

/// <summary>
/// Keeps the patches of an image together. Each increment of small changes anywhere leaves some groups, of whose patches fewer and fewer
/// are current; a restore at the end of a long chain would fetch all of them for a fifth of their bytes. So an increment with patches of its
/// own stores those of the emptiest groups again, among its own: cleaning, as in log-structured storage (Rosenblum and Ousterhout, 1992).
/// Only pages whose page-map segment is written anyway, and whose patch is the one that the index knows; at most a patch for every two new ones.
/// </summary>
internal sealed class PatchCleaner(RocksDb snapshot, ChunkSink sink)
{
    private const int Sparse = PatchGroupId.Slots / 4; // a group with more current patches may stay
    private const int NewForOne = 2;
    private readonly Dictionary<PatchGroupId, int> current = []; // patches of a group; of all of them first, then of those that are chosen
    private Kept[] kept = new Kept[1024];
    private int count;

    /// <summary>Moves patches. The sink has told of all pages, and is not complete yet.</summary>
    /// <returns>Pages whose chunk is another one now, with the same content.</returns>
    public ulong Run(IReadOnlyList<SpaceWriter> spaces)
    {
        var budget = (int)Math.Min(sink.PatchCount / NewForOne, int.MaxValue);
        if (budget == 0) return 0;
        foreach (var space in spaces)
            space.VisitKeptPatches((_, location) => CollectionsMarshal.GetValueRefOrAddDefault(current, PatchGroupId.Of(location), out var _)++);
        Choose(budget);
        if (current.Count == 0) return 0;
        foreach (var space in spaces)
        {
            space.VisitKeptPatches((page, location) =>
            {
                if (current.ContainsKey(PatchGroupId.Of(location))) Add(new Kept(space, page, location));
            });
        }

        Sort();
        ulong pages = 0;
        using var cursor = new PatchGroups(snapshot).Begin();
        Span<bool> indexed = stackalloc bool[Sparse];
        for (int first = 0, n = 0; first < count; first += n)
        {
            n = LengthAt(first);
            try
            {
                var group = cursor.Read(kept[first].Group, isLast: false);
                FindIndexed(group, kept.AsSpan(first, n), indexed);
                for (var i = 0; i < n; i++)
                {
                    if (!indexed[i]) continue;
                    Move(group, kept[first + i]);
                    pages++;
                }
            }
            catch (StoreDamagedException)
            {
                continue; // they stay where they are; verify tells of the damage
            }
        }

        return pages;
    }

    // What gc has taken out of the index, since its anchor is damaged, must not get back into it: the next capture stores that content again.
    private void FindIndexed(PatchGroup group, ReadOnlySpan<Kept> patches, Span<bool> indexed)
    {
        Span<byte> keys = stackalloc byte[Sparse * ContentHash.Size], values = stackalloc byte[Sparse * Keys.LocationSize];
        for (var i = 0; i < patches.Length; i++) group.HashBytes(PatchGroupId.SlotOf(patches[i].Location)).CopyTo(keys[(i * ContentHash.Size)..]);
        snapshot.MultiGet(ColumnFamily.Index, keys[..(patches.Length * ContentHash.Size)], ContentHash.Size, values, Keys.LocationSize, indexed[..patches.Length]);
        for (var i = 0; i < patches.Length; i++)
            indexed[i] = indexed[i] && Keys.LocationOf(values.Slice(i * Keys.LocationSize, Keys.LocationSize)) == patches[i].Location;
    }

    private void Move(PatchGroup group, in Kept patch)
    {
        var slot = PatchGroupId.SlotOf(patch.Location);
        patch.Space.Move(patch.Page, sink.Move(group.Hash(slot), group.Anchor(slot), group.Patch(slot)));
    }

    // The emptiest ones first: they bring most for each patch. By the number of their current patches, which is all that tells them apart.
    private void Choose(int budget)
    {
        var groups = new int[Sparse + 1]; // by current patches
        foreach (var n in current.Values)
            if (n <= Sparse) groups[n]++;
        var left = new int[Sparse + 1];
        var moved = 0;
        for (var n = 1; n <= Sparse; n++)
        {
            left[n] = Math.Min(groups[n], (budget - moved) / n);
            moved += left[n] * n;
            if (left[n] < groups[n]) break;
        }

        // The oldest first: which of those with as many it is must not depend on a table's order.
        foreach (var (group, n) in OldestFirst())
            if (n > Sparse || left[n]-- <= 0) current.Remove(group);
    }

    private KeyValuePair<PatchGroupId, int>[] OldestFirst()
    {
        var all = new KeyValuePair<PatchGroupId, int>[current.Count];
        var (crids, numbers) = (new ulong[all.Length], new uint[all.Length]);
        var at = 0;
        foreach (var group in current)
        {
            (crids[at], numbers[at]) = (group.Key.Crid.Value, group.Key.Number);
            all[at++] = group;
        }

        if (StoredOrder.Of(crids, numbers, all.Length) is not { } order) return all;
        var sorted = new KeyValuePair<PatchGroupId, int>[all.Length];
        for (var i = 0; i < sorted.Length; i++) sorted[i] = all[order[i]];
        return sorted;
    }

    private int LengthAt(int first)
    {
        var end = first + 1;
        while (end < count && kept[end].Location.Crid.Value == kept[first].Location.Crid.Value && kept[end].Group.Number == kept[first].Group.Number) end++;
        return end - first;
    }

    private void Sort()
    {
        var (crids, numbers) = (new ulong[count], new uint[count]);
        for (var i = 0; i < count; i++) (crids[i], numbers[i]) = (kept[i].Location.Crid.Value, kept[i].Group.Number);
        if (StoredOrder.Of(crids, numbers, count) is not { } order) return;
        var sorted = new Kept[count];
        for (var i = 0; i < count; i++) sorted[i] = kept[order[i]];
        kept = sorted;
    }

    private void Add(in Kept patch)
    {
        if (count == kept.Length) Array.Resize(ref kept, 2 * count);
        kept[count++] = patch;
    }

    /// <summary>A page that is as in the parent, and made by a patch.</summary>
    private readonly record struct Kept(SpaceWriter Space, VirtualPage Page, ChunkLocation Location)
    {
        public PatchGroupId Group => PatchGroupId.Of(Location);
    }
}
