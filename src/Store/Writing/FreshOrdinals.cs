using Crstore.Model;

namespace Crstore.Store.Writing;

/// <summary>The ordinals of a capture's new chunks in the order in which they came: the same number as long as none is a patch.</summary>
internal sealed class FreshOrdinals
{
    private readonly List<uint> ordinals = []; // empty before the first patch: a base has millions of chunks and no patch
    private uint count;

    /// <summary>The ordinal of the chunk that came as number <paramref name="sequence"/>.</summary>
    public uint this[uint sequence] => ordinals.Count == 0 ? sequence : ordinals[(int)sequence];

    /// <summary>Adds the next one's.</summary>
    public void Add(uint ordinal)
    {
        if (ordinals.Count == 0 && ordinal >= ChunkLocation.FirstPatch)
            for (uint i = 0; i < count; i++) ordinals.Add(i);
        if (ordinals.Count > 0 || ordinal >= ChunkLocation.FirstPatch) ordinals.Add(ordinal);
        count++;
    }
}
