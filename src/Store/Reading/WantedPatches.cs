using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>
/// The patches that a read wants: fetched first, group by group in stored order on all cores, since only they know which
/// frames' pages they change. They stay here until their anchors are in place. Its memory serves for one read after the other.
/// </summary>
internal sealed class WantedPatches : IDisposable
{
    private const int UnitGroups = 256; // read by one cursor
    private const int BlockBits = 17;  // 128 KiB: with 14 bits for the block's number a patch's place is an int
    private const int MaxBlocks = 1 << (31 - BlockBits);
    private const int CacheLine = 64;

    private readonly ThreadLocal<Writer> writers;
    private readonly Lock gate = new();
    private byte[][] blocks = new byte[64][];
    private int blocksUsed;

    public WantedPatches() => writers = new ThreadLocal<Writer>(() => new Writer(this), trackAllValues: true);

    /// <summary>Fetches all patches among the pieces, and tells these what they are made of and where their patch is.</summary>
    /// <param name="groups">Where from.</param>
    /// <param name="pieces">What; those of groups get sorted.</param>
    /// <param name="damaged">Makes the error of a page that can't be read.</param>
    /// <returns>Groups fetched.</returns>
    public int Fetch(PatchGroups groups, Pieces pieces, PieceReader.Damage damaged)
    {
        pieces.SortPatched();
        var first = pieces.FirstOfEachGroup();
        blocksUsed = 0;
        foreach (var each in writers.Values) each.StartOver();
        InStoredOrder.For(first.Length - 1, UnitGroups, groups.Begin, (g, cursor) => FetchGroup(cursor, pieces, first[g], first[g + 1], damaged));
        return first.Length - 1;
    }

    /// <summary>Has the processor fetch a patch that will be applied in a moment: they lie anywhere, and each would be waited for.</summary>
    public unsafe void Prefetch(in Piece piece)
    {
        if (!Sse.IsSupported) return;
        ref var there = ref Unsafe.Add(ref MemoryMarshal.GetArrayDataReference(blocks[piece.Patch >> BlockBits]), piece.Patch & ((1 << BlockBits) - 1));
        var at = (byte*)Unsafe.AsPointer(ref there); // only a hint, so nothing is pinned
        Sse.Prefetch0(at);
        Sse.Prefetch0(at + CacheLine);
        Sse.Prefetch0(at + 2 * CacheLine);
    }

    /// <summary>Turns the anchor's page into the one that was wanted, and checks it.</summary>
    /// <exception cref="StoreDamagedException">It is not what its content address says: the patch or the anchor is damaged.</exception>
    public void Apply(in Piece piece, Span<byte> page)
    {
        var record = blocks[piece.Patch >> BlockBits].AsSpan(piece.Patch & ((1 << BlockBits) - 1));
        if (!PatchCodec.Apply(record.Slice(Record.PatchAt, Record.LengthOf(record)), page) || PageHash.Of(page) != ContentHash.Read(record[Record.HashAt..]))
            throw PatchGroup.NotItsAddress(Record.GroupOf(record), Record.SlotOf(record), piece.Frame.Location(piece.Slot));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var block in blocks)
            if (block is not null) ArrayPool<byte>.Shared.Return(block);
        blocks = [];
        writers.Dispose();
    }

    private void FetchGroup(PatchGroups.Cursor cursor, Pieces pieces, int from, int to, PieceReader.Damage damaged)
    {
        var page = pieces[pieces.Patched(from).Piece].Page;
        try
        {
            var mine = writers.Value!;
            var id = pieces.Patched(from).Group;
            var isLast = to == pieces.PatchedCount || pieces.Patched(to).Group.Crid != id.Crid;
            for (var i = from; i < to; i++) pieces.Prefetch(pieces.Patched(i).Piece); // a group's pages lie anywhere
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
                    piece = piece with { Frame = FrameId.Of(anchor), Slot = anchor.Slot, Patch = mine.Keep(group, slot) };
                }
            }
        }
        catch (StoreDamagedException e)
        {
            throw damaged(page, e);
        }
    }

    // A new one for a thread; the same memory in every read.
    private (byte[] Block, int Number) NextBlock()
    {
        lock (gate)
        {
            var number = blocksUsed++;
            if (number == MaxBlocks) throw new InvalidOperationException("a read of more than 2 GiB of patches");
            if (number == blocks.Length) Array.Resize(ref blocks, 2 * number);
            return (blocks[number] ??= ArrayPool<byte>.Shared.Rent(1 << BlockBits), number);
        }
    }

    /// <summary>A patch in a block: its length (2 bytes), slot (2), group (12), content address, and the patch.</summary>
    private static class Record
    {
        public const int HashAt = 16, PatchAt = HashAt + ContentHash.Size;

        public static int LengthOf(ReadOnlySpan<byte> record) => BinaryPrimitives.ReadUInt16LittleEndian(record);

        public static int SlotOf(ReadOnlySpan<byte> record) => BinaryPrimitives.ReadUInt16LittleEndian(record[2..]);

        public static PatchGroupId GroupOf(ReadOnlySpan<byte> record) =>
            new(new Crid(BinaryPrimitives.ReadUInt64LittleEndian(record[8..])), BinaryPrimitives.ReadUInt32LittleEndian(record[4..]));

        public static void Write(Span<byte> record, PatchGroup group, int slot, ReadOnlySpan<byte> patch)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(record, (ushort)patch.Length);
            BinaryPrimitives.WriteUInt16LittleEndian(record[2..], (ushort)slot);
            BinaryPrimitives.WriteUInt32LittleEndian(record[4..], group.Id.Number);
            BinaryPrimitives.WriteUInt64LittleEndian(record[8..], group.Id.Crid.Value);
            group.HashBytes(slot).CopyTo(record[HashAt..]);
            patch.CopyTo(record[PatchAt..]);
        }
    }

    /// <summary>Fills one thread's blocks.</summary>
    private sealed class Writer(WantedPatches owner)
    {
        private byte[] block = [];
        private int number;
        private int used;

        /// <summary>Copies a patch; returns its place.</summary>
        public int Keep(PatchGroup group, int slot)
        {
            var patch = group.Patch(slot);
            var size = Record.PatchAt + patch.Length;
            if (block.Length == 0 || (1 << BlockBits) - used < size) ((block, number), used) = (owner.NextBlock(), 0);
            Record.Write(block.AsSpan(used, size), group, slot, patch);
            var place = number << BlockBits | used;
            used += size;
            return place;
        }

        public void StartOver() => block = [];
    }
}
