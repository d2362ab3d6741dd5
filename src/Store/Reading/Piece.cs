using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>Consecutive slots of a frame and where they go; ordered by frame, then by page.</summary>
/// <param name="Frame">The frame.</param>
/// <param name="Slot">First slot.</param>
/// <param name="Count">Slots.</param>
/// <param name="Page">Page of the first one, for messages.</param>
/// <param name="Target">Index of the memory that they go to.</param>
/// <param name="Place">Page in that memory.</param>
/// <param name="Patch">Index of the patch that makes the page out of the slot's; negative if it is the page itself. With a patch there is one slot.</param>
internal readonly record struct Piece(FrameId Frame, int Slot, int Count, VirtualPage Page, int Target, int Place, int Patch) : IComparable<Piece>
{
    /// <summary>Its slots, a bit each.</summary>
    public ushort Slots => (ushort)(((1u << Count) - 1) << Slot);

    /// <summary>True if <paramref name="next"/> goes on in the frame and in the memory where this ends.</summary>
    public bool ContinuesInto(in Piece next) => next.Slot == Slot + Count && next.Place == Place + Count && next.Target == Target;

    /// <inheritdoc/>
    public int CompareTo(Piece other) =>
        Frame.Crid != other.Frame.Crid ? Frame.Crid.CompareTo(other.Frame.Crid) :
        Frame.Number != other.Frame.Number ? Frame.Number.CompareTo(other.Frame.Number) : Page.Number.CompareTo(other.Page.Number);
}

/// <summary>Consecutive slots of a patch group and where their pages go; ordered by group, then by page.</summary>
/// <param name="Group">The group.</param>
/// <param name="Slot">First slot.</param>
/// <param name="Count">Slots.</param>
/// <param name="Page">Page of the first one, for messages.</param>
/// <param name="Target">Index of the memory that they go to.</param>
/// <param name="Place">Page in that memory.</param>
internal readonly record struct PatchPiece(PatchGroupId Group, int Slot, int Count, VirtualPage Page, int Target, int Place) : IComparable<PatchPiece>
{
    /// <inheritdoc/>
    public int CompareTo(PatchPiece other) =>
        Group.Crid != other.Group.Crid ? Group.Crid.CompareTo(other.Group.Crid) :
        Group.Number != other.Group.Number ? Group.Number.CompareTo(other.Group.Number) : Page.Number.CompareTo(other.Page.Number);
}
