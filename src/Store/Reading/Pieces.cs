using System.Runtime.Intrinsics.X86;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>Consecutive slots of a frame and where they go.</summary>
/// <param name="Frame">The frame.</param>
/// <param name="Target">Index of the target that they go to.</param>
/// <param name="Place">Page in that target.</param>
/// <param name="Patch">Place of the patch (<see cref="WantedPatches"/>) that makes the page out of the slot's; negative if it is the page itself. With a patch there is one slot.</param>
/// <param name="Slot">First slot.</param>
/// <param name="Count">Slots.</param>
internal readonly record struct Piece(FrameId Frame, int Target, int Place, int Patch, byte Slot, byte Count)
{
    /// <summary>The first page.</summary>
    public VirtualPage PageOf(IReadOnlyList<PageTarget> targets) => targets[Target].Range.Start + (ulong)Place;

    /// <summary>Its slots, a bit each.</summary>
    public ushort Slots => (ushort)(((1u << Count) - 1) << Slot);

    /// <summary>True if <paramref name="next"/> goes on in the frame and in the memory where this ends.</summary>
    public bool ContinuesInto(in Piece next) => next.Slot == Slot + Count && next.Place == Place + Count && next.Target == Target;
}

/// <summary>Consecutive slots of a patch group that are wanted.</summary>
/// <param name="Group">The group.</param>
/// <param name="Piece">Number of the first one's piece: it says where the page goes, and is told which frame it is made of. The others' follow it.</param>
/// <param name="Slot">First slot.</param>
/// <param name="Count">Slots.</param>
internal readonly record struct PatchPiece(PatchGroupId Group, int Piece, byte Slot, byte Count);

/// <summary>
/// The pieces of one read, in the order in which they were asked for, which mostly is the stored one. Memory of their own rather than
/// lists: they are grown and sorted by the million.
/// </summary>
internal sealed unsafe class Pieces : IDisposable
{
    private const ulong MostAhead = 1 << 18;
    private readonly ReadMemory pieceMemory = new(), patchedMemory = new();
    private Piece* pieces;
    private PatchPiece* patched;
    private int[]? order, patchedOrder; // sorted by these, rather than moved: memory that is touched for the first time costs more; null: as they are
    private ulong[] crids = [];
    private uint[] numbers = [];

    /// <summary>Pieces of frames, those of patches among them.</summary>
    public int Count { get; private set; }

    /// <summary>Pieces of patch groups.</summary>
    public int PatchedCount { get; private set; }

    /// <summary>Patches in them.</summary>
    public int Patches { get; private set; }

    /// <summary>Pages in all of them.</summary>
    public ulong Pages { get; private set; }

    /// <summary>Starts over, keeping its memory: a window follows the other.</summary>
    /// <param name="pages">Wanted. Each may be a piece; room that isn't used is never touched.</param>
    public void Clear(ulong pages)
    {
        (Count, PatchedCount, Patches, Pages, order, patchedOrder) = (0, 0, 0, 0, null, null);
        pieceMemory.Reserve((long)Math.Min(pages, MostAhead) * sizeof(Piece), used: 0);
        pieces = (Piece*)pieceMemory.Address;
    }

    /// <summary>Adds the pieces of a run of chunks.</summary>
    /// <param name="first">Where the first one is.</param>
    /// <param name="count">Chunks.</param>
    /// <param name="target">Index of the target that they go to.</param>
    /// <param name="place">Page in that target.</param>
    public void Add(ChunkLocation first, int count, int target, int place)
    {
        Pages += (ulong)count;
        for (var done = 0; done < count;)
        {
            var at = first with { Ordinal = first.Ordinal + (uint)done };
            int here;
            if (at.IsPatch)
            {
                var slot = PatchGroupId.SlotOf(at);
                here = Math.Min(count - done, PatchGroupId.Slots - slot);
                AddPatched(new PatchPiece(PatchGroupId.Of(at), Count, (byte)slot, (byte)here));
                for (var i = 0; i < here; i++) Add(new Piece(default, target, place + done + i, 0, 0, 1));
                Patches += here;
            }
            else
            {
                here = Math.Min(count - done, ChunkLocation.SlotsPerFrame - at.Slot);
                Add(new Piece(FrameId.Of(at), target, place + done, -1, (byte)at.Slot, (byte)here));
            }

            done += here;
        }
    }

    /// <summary>A piece of a frame.</summary>
    public ref Piece this[int number] => ref pieces[order is null ? number : order[number]];

    /// <summary>Has the processor fetch a piece of a frame that will be written in a moment.</summary>
    public void Prefetch(int number)
    {
        if (Sse.IsSupported) Sse.Prefetch0(pieces + number);
    }

    /// <summary>A piece of a patch group.</summary>
    public ref readonly PatchPiece Patched(int number) => ref patched[patchedOrder is null ? number : patchedOrder[number]];

    /// <summary>Puts the pieces of frames into stored order; pieces of one frame stay in the order in which they were asked for.</summary>
    public void Sort()
    {
        RoomForKeys(Count);
        for (var i = 0; i < Count; i++) (crids[i], numbers[i]) = (pieces[i].Frame.Crid.Value, pieces[i].Frame.Number);
        order = StoredOrder.Of(crids, numbers, Count);
    }

    /// <summary>Puts the pieces of patch groups into stored order.</summary>
    public void SortPatched()
    {
        RoomForKeys(PatchedCount);
        for (var i = 0; i < PatchedCount; i++) (crids[i], numbers[i]) = (patched[i].Group.Crid.Value, patched[i].Group.Number);
        patchedOrder = StoredOrder.Of(crids, numbers, PatchedCount);
    }

    /// <summary>Numbers of the pieces with which a frame begins, and the end, once they are sorted.</summary>
    public int[] FirstOfEachFrame() => FirstOfEach(order, Count);

    /// <summary>Numbers of the pieces with which a patch group begins, and the end, once they are sorted.</summary>
    public int[] FirstOfEachGroup() => FirstOfEach(patchedOrder, PatchedCount);

    // Of the keys that were sorted last.
    private int[] FirstOfEach(int[]? inOrder, int count)
    {
        var first = new int[count + 1];
        var found = 0;
        var (crid, number) = (0UL, 0U);
        for (var i = 0; i < count; i++)
        {
            var at = inOrder is null ? i : inOrder[i];
            if (i > 0 && crids[at] == crid && numbers[at] == number) continue;
            (crid, number) = (crids[at], numbers[at]);
            first[found++] = i;
        }

        first[found] = count;
        return first[..(found + 1)];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        pieceMemory.Dispose();
        patchedMemory.Dispose();
    }

    private void RoomForKeys(int count)
    {
        if (crids.Length < count) (crids, numbers) = (new ulong[count], new uint[count]);
    }

    private void Add(in Piece piece)
    {
        var used = Count * sizeof(Piece);
        if (used + sizeof(Piece) > pieceMemory.Bytes)
        {
            pieceMemory.Reserve(Math.Max(2L * used, sizeof(Piece)), used);
            pieces = (Piece*)pieceMemory.Address;
        }

        pieceMemory.Use(used + sizeof(Piece));
        pieces[Count++] = piece;
    }

    private void AddPatched(in PatchPiece piece)
    {
        var used = PatchedCount * sizeof(PatchPiece);
        if (used + sizeof(PatchPiece) > patchedMemory.Bytes)
        {
            patchedMemory.Reserve(Math.Max(2L * used, pieceMemory.Bytes / sizeof(Piece) * sizeof(PatchPiece)), used);
            patched = (PatchPiece*)patchedMemory.Address;
        }

        patchedMemory.Use(used + sizeof(PatchPiece));
        patched[PatchedCount++] = piece;
    }
}
