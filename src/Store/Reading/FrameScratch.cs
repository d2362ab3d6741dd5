using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>
/// A thread's buffers for one frame or patch group at a time, as it is stored and unpacked: they are read by the thousand.
/// What was fetched is valid until the next one is.
/// </summary>
internal sealed class FrameScratch
{
    private const int MaxFrameBytes = ChunkLocation.SlotsPerFrame * VirtualPage.Size;

    [ThreadStatic]
    private static FrameScratch? ofThisThread;

    private readonly byte[] packed = GC.AllocateUninitializedArray<byte>(2 * MaxFrameBytes); // with content addresses and all that

    /// <summary>The calling thread's.</summary>
    public static FrameScratch OfThisThread => ofThisThread ??= new FrameScratch();

    /// <summary>Room for what is unpacked.</summary>
    public byte[] Unpacked { get; } = GC.AllocateUninitializedArray<byte>(MaxFrameBytes);

    /// <summary>Room for pages that a receiver is given.</summary>
    public byte[] Handed { get; } = GC.AllocateUninitializedArray<byte>(MaxFrameBytes);

    /// <summary>Room for a patch group's directory.</summary>
    public PatchGroup.Directory Directory { get; } = new(PatchGroupId.Slots);

    /// <summary>Fetches a frame.</summary>
    /// <exception cref="StoreDamagedException">It is missing or damaged.</exception>
    public FrameReader Frame(RocksDb db, FrameId id)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.Frame(id, key);
        return FrameReader.Parse(id, Fetch(db, ColumnFamily.Chunks, key), db.Dictionaries);
    }

    /// <summary>
    /// Fetches a patch group, by a lookup of its own: an iterator reads ahead, and the groups between the wanted ones, half as much again
    /// (36 MB instead of 24).
    /// </summary>
    /// <exception cref="StoreDamagedException">It is missing or damaged.</exception>
    public PatchGroup Group(RocksDb db, PatchGroupId id)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.PatchGroup(id, key);
        return PatchGroup.Parse(id, Fetch(db, ColumnFamily.Patches, key), limits: null, Directory);
    }

    private ReadOnlyMemory<byte> Fetch(RocksDb db, ColumnFamily family, ReadOnlySpan<byte> key)
    {
        using var value = db.GetPinned(family, key);
        var bytes = value.Span;
        if (bytes.Length > packed.Length) return bytes.ToArray(); // refused where it is parsed
        bytes.CopyTo(packed);
        return packed.AsMemory(0, bytes.Length);
    }
}
