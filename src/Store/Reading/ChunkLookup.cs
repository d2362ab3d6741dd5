using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>What is known of single chunks without reading their pages, the records read last being kept. Thread safe.</summary>
internal sealed class ChunkLookup(RocksDb db)
{
    private readonly RecordCache<FrameId, FrameReader> frames = new(256, id => LoadFrame(db, id)); // at most 24 MiB
    private readonly RecordCache<PatchGroupId, PatchGroup> groups = new(4096, id => LoadGroup(db, id).Detached(patches: false)); // at most 16 MiB; increments of scattered changes refer to thousands

    /// <summary>The content address of a chunk's page.</summary>
    /// <exception cref="StoreDamagedException">Its frame or group is missing or damaged, or it is dead.</exception>
    public ContentHash Hash(ChunkLocation chunk) => chunk.IsPatch
        ? groups.Get(PatchGroupId.Of(chunk)).Hash(PatchGroupId.SlotOf(chunk))
        : frames.Get(FrameId.Of(chunk)).Hash(chunk.Slot);

    /// <summary>The first eight bytes of a chunk's content address: no page has to be read for them. They tell two pages apart; that two are the same they don't.</summary>
    /// <exception cref="StoreDamagedException">The same.</exception>
    public ulong HashStart(ChunkLocation chunk) => chunk.IsPatch ? Hash(chunk).A : frames.Get(FrameId.Of(chunk)).HashStart(chunk.Slot);

    /// <summary>True if as much of a chunk's content address as its frame has is that of this one: enough to check what was proven before, not to take two pages for the same.</summary>
    /// <exception cref="StoreDamagedException">Its frame or group is missing or damaged, or it is dead.</exception>
    public bool Fits(ChunkLocation chunk, in ContentHash hash) => chunk.IsPatch ? Hash(chunk) == hash : frames.Get(FrameId.Of(chunk)).Fits(chunk.Slot, hash);

    /// <summary>What a patch to this chunk's page can be made against: the chunk itself, or its own anchor if it is a patch.</summary>
    /// <exception cref="StoreDamagedException">The same.</exception>
    public ChunkLocation AnchorFor(ChunkLocation chunk) => chunk.IsPatch
        ? groups.Get(PatchGroupId.Of(chunk)).Anchor(PatchGroupId.SlotOf(chunk))
        : chunk;

    /// <summary>Reads a frame.</summary>
    /// <exception cref="StoreDamagedException">It is missing or damaged.</exception>
    public static FrameReader LoadFrame(RocksDb db, FrameId id)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.Frame(id, key);
        return FrameReader.Parse(id, db.Get(ColumnFamily.Chunks, key) ?? ReadOnlyMemory<byte>.Empty, db.Dictionaries);
    }

    /// <summary>Reads a patch group.</summary>
    /// <exception cref="StoreDamagedException">It is missing or damaged.</exception>
    public static PatchGroup LoadGroup(RocksDb db, PatchGroupId id)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.PatchGroup(id, key);
        return PatchGroup.Parse(id, db.Get(ColumnFamily.Patches, key) ?? ReadOnlyMemory<byte>.Empty);
    }
}
