using Crstore.Store.Dictionaries;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Patches;

namespace Crstore.Store.Maintenance;

/// <summary>How one kind of record is packed again.</summary>
/// <param name="Family">Where they are.</param>
/// <param name="Words">What they are called.</param>
/// <param name="CridDone">Name of the number in meta: everything of lower CRIDs was looked at.</param>
/// <param name="NumberDone">And of that CRID the records with lower numbers.</param>
internal sealed record HardPacking(ColumnFamily Family, string Words, string CridDone, string NumberDone)
{
    private const int WorthwhileShift = 6; // less than 1/64 saved isn't worth writing

    /// <summary>Pages that are stored as they are.</summary>
    public static readonly HardPacking Frames = new(ColumnFamily.Chunks, "frames", "recompressed_frames_crid", "recompressed_frames_number") { Pack = PackFrame };

    /// <summary>Pages that are stored as patches.</summary>
    public static readonly HardPacking PatchGroups = new(ColumnFamily.Patches, "patch groups", "recompressed_patches_crid", "recompressed_patches_number") { Pack = PackGroup };

    // Of frames few: with a dictionary they are packed as hard as that says. Levels 9 and 12 gain half of it (docs/PERFORMANCE.md).
    private static readonly Compression Hard = new(19);

    /// <summary>
    /// From key and record as it is, and a dictionary if there is one, to the record packed harder; null if that gains too little. What comes out was unpacked and compared.
    /// </summary>
    /// <exception cref="Crstore.Model.StoreDamagedException">It is damaged.</exception>
    public required Func<byte[], byte[], PackingDictionary?, byte[]?> Pack { get; init; }

    private static byte[]? PackFrame(byte[] key, byte[] value, PackingDictionary? dictionary)
    {
        var frame = FrameReader.Parse(Keys.FrameOf(key), value);
        if (frame.Dictionary is not null) return null; // a run that was cut short has been here
        var packed = FrameEncoder.Without(frame, 0, Hard, dictionary)!; // it has live slots, or it would not parse
        if (!IsWorthIt(packed, value)) return null;
        var again = FrameReader.Parse(frame.Id, packed, dictionary?.Reader);
        var same = again.Live == frame.Live && again.Slots == frame.Slots;
        for (var slot = 0; slot < frame.Slots && same; slot++)
            if (frame.IsLive(slot)) same = again.Hash(slot) == frame.Hash(slot) && again.Page(slot).SequenceEqual(frame.Page(slot));
        return same ? packed : throw Wrong($"{frame.Id}");
    }

    private static byte[]? PackGroup(byte[] key, byte[] value, PackingDictionary? dictionary)
    {
        var group = PatchGroup.Parse(Keys.PatchGroupOf(key), value);
        var packed = group.Without(0, Hard)!;
        if (!IsWorthIt(packed, value)) return null;
        var again = PatchGroup.Parse(group.Id, packed);
        var same = again.Live == group.Live && again.Slots == group.Slots;
        for (var slot = 0; slot < group.Slots && same; slot++)
            if (group.IsLive(slot)) same = again.Hash(slot) == group.Hash(slot) && again.Anchor(slot) == group.Anchor(slot) && again.Patch(slot).SequenceEqual(group.Patch(slot));
        return same ? packed : throw Wrong($"{group.Id}");
    }

    private static bool IsWorthIt(byte[] packed, byte[] value) => packed.Length < value.Length - (value.Length >> WorthwhileShift);

    private static InvalidOperationException Wrong(string what) => new($"{what} packed anew is not what it was: nothing was replaced");
}
