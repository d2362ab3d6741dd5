using Crstore.Model;

namespace Crstore.Store.Patches;

/// <summary>A group of patches: the CRID that first stored them, and its number there, in capture order.</summary>
public readonly record struct PatchGroupId(Crid Crid, uint Number)
{
    /// <summary>
    /// Patches in a group. They are small, and what costs is to fetch a group: with 16, as in frames, the last image of a long
    /// chain of small changes lies in three times as many groups as with 64; 256 unpack more of what nobody asked for.
    /// </summary>
    public const int Slots = 64;

    /// <summary>The group that holds a patch.</summary>
    public static PatchGroupId Of(ChunkLocation patch) => new(patch.Crid, (patch.Ordinal - ChunkLocation.FirstPatch) / Slots);

    /// <summary>A patch's slot in its group.</summary>
    public static int SlotOf(ChunkLocation patch) => (int)(patch.Ordinal % Slots);

    /// <summary>Where the chunk in one of its slots is.</summary>
    public ChunkLocation Location(int slot) => new(Crid, checked(ChunkLocation.FirstPatch + Number * Slots + (uint)slot));

    /// <summary>For messages.</summary>
    public override string ToString() => $"patch group {Crid}/{Number}";
}
