using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>Consecutive slots of a frame and where they go.</summary>
/// <param name="Frame">The frame.</param>
/// <param name="Slot">First slot.</param>
/// <param name="Count">Slots.</param>
/// <param name="Page">Page of the first one, for messages.</param>
/// <param name="Target">Index of the memory that they go to.</param>
/// <param name="Place">Page in that memory.</param>
/// <param name="Patch">Place of the patch (<see cref="WantedPatches"/>) that makes the page out of the slot's; negative if it is the page itself. With a patch there is one slot.</param>
internal readonly record struct Piece(FrameId Frame, int Slot, int Count, VirtualPage Page, int Target, int Place, int Patch)
{
    /// <summary>Its slots, a bit each.</summary>
    public ushort Slots => (ushort)(((1u << Count) - 1) << Slot);

    /// <summary>True if <paramref name="next"/> goes on in the frame and in the memory where this ends.</summary>
    public bool ContinuesInto(in Piece next) => next.Slot == Slot + Count && next.Place == Place + Count && next.Target == Target;
}

/// <summary>Consecutive slots of a patch group that are wanted.</summary>
/// <param name="Group">The group.</param>
/// <param name="Slot">First slot.</param>
/// <param name="Count">Slots.</param>
/// <param name="Piece">Number of the first one's piece: it says where the page goes, and is told which frame it is made of. The others' follow it.</param>
internal readonly record struct PatchPiece(PatchGroupId Group, int Slot, int Count, int Piece);

/// <summary>
/// The pieces of one read, in the order in which they were asked for, which mostly is the stored one. Arrays rather than lists:
/// what the framework has for lists of our own types can't be compiled ahead, and a restore is over before it is compiled well.
/// </summary>
internal sealed class Pieces
{
    private const ulong MostAhead = 1 << 18;
    private Piece[] pieces = new Piece[64];
    private Piece[] spare = [];
    private PatchPiece[] patched = [];
    private PatchPiece[] sparePatched = [];
    private ulong[] crids = [];
    private uint[] numbers = [];

    /// <summary>Pieces of frames, those of patches among them.</summary>
    public int Count { get; private set; }

    /// <summary>Pieces of patch groups.</summary>
    public int PatchedCount { get; private set; }

    /// <summary>Patches in them.</summary>
    public int Patches { get; private set; }

    /// <summary>Starts over, keeping its memory: a window follows the other.</summary>
    /// <param name="pages">Wanted. Each may be a piece; room that isn't used is never touched.</param>
    public void Clear(ulong pages)
    {
        (Count, PatchedCount, Patches) = (0, 0, 0);
        var ahead = (int)Math.Min(pages, MostAhead);
        if (ahead > pieces.Length) pieces = GC.AllocateUninitializedArray<Piece>(ahead);
    }

    /// <summary>Adds the pieces of a run of chunks.</summary>
    /// <param name="first">Where the first one is.</param>
    /// <param name="count">Chunks.</param>
    /// <param name="page">Page of the first one.</param>
    /// <param name="target">Index of the memory that they go to.</param>
    /// <param name="place">Page in that memory.</param>
    public void Add(ChunkLocation first, int count, VirtualPage page, int target, int place)
    {
        for (var done = 0; done < count;)
        {
            var at = first with { Ordinal = first.Ordinal + (uint)done };
            int here;
            if (at.IsPatch)
            {
                var slot = PatchGroupId.SlotOf(at);
                here = Math.Min(count - done, PatchGroupId.Slots - slot);
                AddPatched(new PatchPiece(PatchGroupId.Of(at), slot, here, Count));
                for (var i = 0; i < here; i++) Add(new Piece(default, 0, 1, page + (ulong)(done + i), target, place + done + i, 0));
                Patches += here;
            }
            else
            {
                here = Math.Min(count - done, ChunkLocation.SlotsPerFrame - at.Slot);
                Add(new Piece(FrameId.Of(at), at.Slot, here, page + (ulong)done, target, place + done, -1));
            }

            done += here;
        }
    }

    /// <summary>A piece of a frame.</summary>
    public ref Piece this[int number] => ref pieces[number];

    /// <summary>Has the processor fetch a piece of a frame that will be written in a moment.</summary>
    public unsafe void Prefetch(int number)
    {
        if (Sse.IsSupported) Sse.Prefetch0(Unsafe.AsPointer(ref pieces[number])); // only a hint, so nothing is pinned
    }

    /// <summary>A piece of a patch group.</summary>
    public ref readonly PatchPiece Patched(int number) => ref patched[number];

    /// <summary>Puts the pieces of frames into stored order; pieces of one frame stay in the order in which they were asked for.</summary>
    public void Sort()
    {
        RoomForKeys(Count);
        for (var i = 0; i < Count; i++) (crids[i], numbers[i]) = (pieces[i].Frame.Crid.Value, pieces[i].Frame.Number);
        if (StoredOrder.Of(crids, numbers, Count) is not { } order) return;
        if (spare.Length < Count) spare = new Piece[pieces.Length];
        for (var i = 0; i < Count; i++) spare[i] = pieces[order[i]];
        (pieces, spare) = (spare, pieces);
    }

    /// <summary>Puts the pieces of patch groups into stored order.</summary>
    public void SortPatched()
    {
        RoomForKeys(PatchedCount);
        for (var i = 0; i < PatchedCount; i++) (crids[i], numbers[i]) = (patched[i].Group.Crid.Value, patched[i].Group.Number);
        if (StoredOrder.Of(crids, numbers, PatchedCount) is not { } order) return;
        if (sparePatched.Length < PatchedCount) sparePatched = new PatchPiece[patched.Length];
        for (var i = 0; i < PatchedCount; i++) sparePatched[i] = patched[order[i]];
        (patched, sparePatched) = (sparePatched, patched);
    }

    /// <summary>Numbers of the pieces with which a frame begins, and the end.</summary>
    public int[] FirstOfEachFrame()
    {
        var count = 1;
        for (var i = 1; i < Count; i++) count += FrameBegins(i) ? 1 : 0;
        var first = new int[count + 1];
        for (int i = 1, n = 1; i < Count; i++)
            if (FrameBegins(i)) first[n++] = i;
        first[count] = Count;
        return first;
    }

    /// <summary>Numbers of the pieces with which a patch group begins, and the end.</summary>
    public int[] FirstOfEachGroup()
    {
        var count = 1;
        for (var i = 1; i < PatchedCount; i++) count += GroupBegins(i) ? 1 : 0;
        var first = new int[count + 1];
        for (int i = 1, n = 1; i < PatchedCount; i++)
            if (GroupBegins(i)) first[n++] = i;
        first[count] = PatchedCount;
        return first;
    }

    // Number by number: what compares records goes through the framework's generics, too.
    private bool FrameBegins(int i) => pieces[i].Frame.Number != pieces[i - 1].Frame.Number || pieces[i].Frame.Crid.Value != pieces[i - 1].Frame.Crid.Value;

    private bool GroupBegins(int i) => patched[i].Group.Number != patched[i - 1].Group.Number || patched[i].Group.Crid.Value != patched[i - 1].Group.Crid.Value;

    private void RoomForKeys(int count)
    {
        if (crids.Length < count) (crids, numbers) = (new ulong[count], new uint[count]);
    }

    private void Add(in Piece piece)
    {
        if (Count == pieces.Length) Array.Resize(ref pieces, Count * 2);
        pieces[Count++] = piece;
    }

    private void AddPatched(in PatchPiece piece)
    {
        if (PatchedCount == patched.Length) Array.Resize(ref patched, Math.Max(64, PatchedCount * 2));
        patched[PatchedCount++] = piece;
    }
}
