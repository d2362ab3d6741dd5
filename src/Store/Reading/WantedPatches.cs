using System.Buffers;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>
/// The patches that a read wants: fetched first, group by group in stored order on all cores, since only they know which
/// frames' pages they change. Their bytes stay here until their anchors are in place.
/// </summary>
internal sealed class WantedPatches : IDisposable
{
    private readonly ThreadLocal<Blocks> blocks = new(() => new Blocks(), trackAllValues: true);
    private Patch[] patches = [];

    /// <summary>Fetches patches; what they change is added to the pieces to be read.</summary>
    /// <param name="db">Where from.</param>
    /// <param name="wanted">Which; gets sorted.</param>
    /// <param name="pieces">Gets a piece per patch.</param>
    /// <param name="damaged">Makes the error of a page that can't be read.</param>
    /// <returns>Groups fetched.</returns>
    public int Fetch(RocksDb db, List<PatchPiece> wanted, List<Piece> pieces, PieceReader.Damage damaged)
    {
        wanted.Sort();
        var first = new List<int>();
        var indexes = new int[wanted.Count + 1]; // of each piece's first patch
        for (var i = 0; i < wanted.Count; i++)
        {
            if (i == 0 || wanted[i].Group != wanted[i - 1].Group) first.Add(i);
            indexes[i + 1] = indexes[i] + wanted[i].Count;
        }

        patches = ArrayPool<Patch>.Shared.Rent(indexes[^1]);
        var groups = first.Count;
        first.Add(wanted.Count);
        InStoredOrder.For(groups, g => FetchGroup(db, wanted, first[g], first[g + 1], indexes, damaged));
        for (var i = 0; i < wanted.Count; i++)
        {
            var piece = wanted[i];
            for (var n = 0; n < piece.Count; n++)
            {
                var anchor = patches[indexes[i] + n].Anchor;
                pieces.Add(new Piece(FrameId.Of(anchor), anchor.Slot, 1, piece.Page + (ulong)n, piece.Target, piece.Place + n, indexes[i] + n));
            }
        }

        return groups;
    }

    /// <summary>Turns the anchor's page into the one that was wanted, and checks it.</summary>
    /// <exception cref="StoreDamagedException">It is not what its content address says: the patch or the anchor is damaged.</exception>
    public void Apply(int index, Span<byte> page)
    {
        ref readonly var patch = ref patches[index];
        if (!PatchCodec.Apply(patch.Bytes.AsSpan(patch.Start, patch.Length), page) || ContentHash.Of(page) != patch.Hash)
            throw PatchGroup.NotItsAddress(PatchGroupId.Of(patch.Location), PatchGroupId.SlotOf(patch.Location), patch.Anchor);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (patches.Length > 0) ArrayPool<Patch>.Shared.Return(patches, clearArray: true);
        patches = [];
        foreach (var each in blocks.Values) each.Return();
        blocks.Dispose();
    }

    private void FetchGroup(RocksDb db, List<PatchPiece> wanted, int from, int to, int[] indexes, PieceReader.Damage damaged)
    {
        var page = wanted[from].Page;
        try
        {
            var scratch = FrameScratch.OfThisThread;
            var mine = blocks.Value!;
            var group = scratch.Group(db, wanted[from].Group);
            group.UnpackInto(scratch.Unpacked);
            for (var i = from; i < to; i++)
            {
                var piece = wanted[i];
                for (var n = 0; n < piece.Count; n++)
                {
                    page = piece.Page + (ulong)n;
                    var slot = piece.Slot + n;
                    var bytes = group.Patch(slot);
                    var (block, start) = mine.Keep(bytes);
                    patches[indexes[i] + n] = new Patch(group.Hash(slot), group.Anchor(slot), group.Id.Location(slot), block, start, bytes.Length);
                }
            }
        }
        catch (StoreDamagedException e)
        {
            throw damaged(page, e);
        }
    }

    private readonly record struct Patch(ContentHash Hash, ChunkLocation Anchor, ChunkLocation Location, byte[] Bytes, int Start, int Length);

    /// <summary>One thread's memory for patches.</summary>
    private sealed class Blocks
    {
        private const int BlockBytes = 128 << 10;
        private readonly List<byte[]> rented = [];
        private int used = int.MaxValue;

        public (byte[] Block, int Start) Keep(ReadOnlySpan<byte> bytes)
        {
            if (rented.Count == 0 || rented[^1].Length - used < bytes.Length)
            {
                rented.Add(ArrayPool<byte>.Shared.Rent(BlockBytes));
                used = 0;
            }

            bytes.CopyTo(rented[^1].AsSpan(used));
            used += bytes.Length;
            return (rented[^1], used - bytes.Length);
        }

        public void Return()
        {
            foreach (var block in rented) ArrayPool<byte>.Shared.Return(block, clearArray: false);
            rented.Clear();
        }
    }
}
