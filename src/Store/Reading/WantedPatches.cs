using System.Buffers;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>
/// The patches that a read wants: fetched first, group by group in stored order on all cores, since only they know which
/// frames' pages they change. Their bytes stay here until their anchors are in place. Its memory serves for one read after the other.
/// </summary>
internal sealed class WantedPatches : IDisposable
{
    private const int UnitGroups = 32; // read by one cursor

    private readonly ThreadLocal<Blocks> blocks = new(() => new Blocks(), trackAllValues: true);
    private Patch[] patches = [];

    /// <summary>Fetches all patches among the pieces, and tells these what they are made of.</summary>
    /// <param name="groups">Where from.</param>
    /// <param name="pieces">What; those of groups get sorted.</param>
    /// <param name="damaged">Makes the error of a page that can't be read.</param>
    /// <returns>Groups fetched.</returns>
    public int Fetch(PatchGroups groups, Pieces pieces, PieceReader.Damage damaged)
    {
        pieces.SortPatched();
        var first = pieces.FirstOfEachGroup();
        if (patches.Length < pieces.Patches) patches = new Patch[pieces.Patches];
        foreach (var each in blocks.Values) each.StartOver();
        InStoredOrder.For(first.Length - 1, UnitGroups, groups.Begin, (g, cursor) => FetchGroup(cursor, pieces, first[g], first[g + 1], damaged));
        return first.Length - 1;
    }

    /// <summary>Turns the anchor's page into the one that was wanted, and checks it.</summary>
    /// <exception cref="StoreDamagedException">It is not what its content address says: the patch or the anchor is damaged.</exception>
    public void Apply(in Piece piece, Span<byte> page)
    {
        ref readonly var patch = ref patches[piece.Patch];
        if (!PatchCodec.Apply(patch.Bytes.AsSpan(patch.Start, patch.Length), page) || ContentHash.Of(page) != patch.Hash)
            throw PatchGroup.NotItsAddress(patch.Group, patch.Slot, piece.Frame.Location(piece.Slot));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var each in blocks.Values) each.Return();
        blocks.Dispose();
    }

    private void FetchGroup(PatchGroups.Cursor cursor, Pieces pieces, int from, int to, PieceReader.Damage damaged)
    {
        var page = pieces[pieces.Patched(from).Piece].Page;
        try
        {
            var mine = blocks.Value!;
            var id = pieces.Patched(from).Group;
            var isLast = to == pieces.PatchedCount || pieces.Patched(to).Group.Crid != id.Crid;
            var group = cursor.Read(id, isLast);
            for (var i = from; i < to; i++)
            {
                ref readonly var wanted = ref pieces.Patched(i);
                for (var n = 0; n < wanted.Count; n++)
                {
                    ref var piece = ref pieces[wanted.Piece + n];
                    page = piece.Page;
                    var slot = wanted.Slot + n;
                    var anchor = group.Anchor(slot);
                    piece = piece with { Frame = FrameId.Of(anchor), Slot = anchor.Slot };
                    var bytes = group.Patch(slot);
                    var block = mine.Keep(bytes, out var start);
                    patches[piece.Patch] = new Patch(group.Hash(slot), block, start, bytes.Length, group.Id, slot);
                }
            }
        }
        catch (StoreDamagedException e)
        {
            throw damaged(page, e);
        }
    }

    private readonly record struct Patch(ContentHash Hash, byte[] Bytes, int Start, int Length, PatchGroupId Group, int Slot);

    /// <summary>One thread's memory for patches.</summary>
    private sealed class Blocks
    {
        private const int BlockBytes = 128 << 10;
        private readonly List<byte[]> rented = [];
        private int current = -1;
        private int used = BlockBytes;

        public byte[] Keep(ReadOnlySpan<byte> bytes, out int start)
        {
            if (BlockBytes - used < bytes.Length)
            {
                if (++current == rented.Count) rented.Add(ArrayPool<byte>.Shared.Rent(BlockBytes));
                used = 0;
            }

            var block = rented[current];
            bytes.CopyTo(block.AsSpan(used));
            start = used;
            used += bytes.Length;
            return block;
        }

        public void StartOver() => (current, used) = (-1, BlockBytes);

        public void Return()
        {
            foreach (var each in rented) ArrayPool<byte>.Shared.Return(each);
            rented.Clear();
        }
    }
}
