using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Codec;
using Crstore.Store.Frames;
using Crstore.Store.Native;

namespace Crstore.Store.Patches;

/// <summary>
/// A stored patch group. Parsing checks structure and checksum; the patches are unpacked when the first of them is asked for.
/// What a patch makes of its anchor must be checked against the content address by whoever applies it. Thread safe.
/// </summary>
public sealed class PatchGroup
{
    private readonly ReadOnlyMemory<byte> _group;
    private readonly FrameCodec _codec;
    private readonly ChunkLocation[] _anchors;
    private readonly int[] _ends; // of the live slots' patches in the unpacked payload
    private readonly ReadOnlyMemory<byte> _payload;
    private byte[]? _unpacked;

    private PatchGroup(PatchGroupId id, FrameCodec codec, int slots, ulong live, ReadOnlyMemory<byte> group, ReadOnlyMemory<byte> payload, ChunkLocation[] anchors, int[] ends) =>
        (Id, _codec, Slots, Live, _group, _payload, _anchors, _ends) = (id, codec, slots, live, group, payload, anchors, ends);

    /// <summary>Its key.</summary>
    public PatchGroupId Id { get; }

    /// <summary>Slots it was made with, 1 to 64; dead ones keep their number.</summary>
    public int Slots { get; }

    /// <summary>Bit N set: slot N has a patch.</summary>
    public ulong Live { get; }

    /// <summary>Slots with a patch.</summary>
    public int LiveCount => BitOperations.PopCount(Live);

    /// <summary>Bytes of all its patches.</summary>
    public int PatchBytes => _ends[LiveCount - 1];

    /// <summary>About what it takes in memory, its patches unpacked.</summary>
    internal int MemoryBytes => _group.Length + (_codec == FrameCodec.None ? 0 : PatchBytes) + LiveCount * (Unsafe.SizeOf<ChunkLocation>() + sizeof(int)) + 256;

    /// <summary>True if the slot has a patch.</summary>
    public bool IsLive(int slot) => slot is >= 0 and < PatchGroupId.Slots && (Live >> slot & 1) != 0;

    /// <summary>Parses a stored group.</summary>
    /// <param name="id">The key it was found under.</param>
    /// <param name="group">Its bytes, kept until the group is dropped.</param>
    /// <param name="limits">Null for the default ones.</param>
    /// <exception cref="StoreDamagedException">It is no patch group, or another one's bytes.</exception>
    public static PatchGroup Parse(PatchGroupId id, ReadOnlyMemory<byte> group, FormatLimits? limits = null) => Parse(id, group, limits, room: null);

    /// <summary>The same, for who parses them by the thousand.</summary>
    /// <param name="id">The key it was found under.</param>
    /// <param name="group">Its bytes, kept until the group is dropped.</param>
    /// <param name="limits">Null for the default ones.</param>
    /// <param name="room">The group keeps its directory in it; null for memory of its own.</param>
    /// <exception cref="StoreDamagedException">It is no patch group, or another one's bytes.</exception>
    internal static PatchGroup Parse(PatchGroupId id, ReadOnlyMemory<byte> group, FormatLimits? limits, Directory? room)
    {
        limits ??= FormatLimits.Default;
        var bytes = group.Span;
        if (bytes.Length <= PatchGroupLayout.HeaderSize + ContentHash.Size + Crc32C.Size) throw Damaged(id, bytes.IsEmpty ? "missing" : "too short");
        if (bytes[0] != PatchGroupLayout.Version) throw Damaged(id, $"unknown version {bytes[0]}");
        var (codec, slots) = ((FrameCodec)bytes[1], (int)bytes[2]);
        var live = BinaryPrimitives.ReadUInt64LittleEndian(bytes[4..]);
        var payload = BinaryPrimitives.ReadUInt32LittleEndian(bytes[12..]);
        var count = BitOperations.PopCount(live);
        if (slots < 1 || slots > limits.MaxPatchSlots || count < 1 || slots < 64 && live >> slots != 0) throw Damaged(id, "impossible slots");
        if (codec is not (FrameCodec.None or FrameCodec.Zstd)) throw Damaged(id, $"unknown codec {bytes[1]}");
        if (bytes[3] != 0) throw Damaged(id, "a reserved byte that is not 0");
        if (payload < 1 || payload > count * limits.MaxPatchBytes) throw Damaged(id, $"a payload of {payload} bytes for {count} patches");
        var directory = bytes.Length - PatchGroupLayout.HeaderSize - count * ContentHash.Size - (int)payload - Crc32C.Size;
        if (directory < 1) throw Damaged(id, $"{bytes.Length} bytes, not what its header says");
        if (PatchGroupLayout.Checksum(id, bytes[..^Crc32C.Size]) != BinaryPrimitives.ReadUInt32LittleEndian(bytes[^Crc32C.Size..]))
            throw Damaged(id, "wrong checksum");
        var (anchors, ends) = room ?? new Directory(count);
        ReadDirectory(id, bytes.Slice(PatchGroupLayout.HeaderSize + count * ContentHash.Size, directory), limits, anchors.AsSpan(0, count), ends);
        var unpacked = ends[count - 1];
        if (codec == FrameCodec.None ? payload != unpacked : payload >= unpacked) throw Damaged(id, $"a payload of {payload} bytes for {unpacked} bytes of patches");
        return new PatchGroup(id, codec, slots, live, group, group.Slice(group.Length - Crc32C.Size - (int)payload, (int)payload), anchors, ends);
    }

    /// <summary>Content address of the page that a live slot's patch makes.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead: something refers to a page that is gone.</exception>
    public ContentHash Hash(int slot) => ContentHash.Read(HashBytes(slot));

    /// <summary>The same as it is stored.</summary>
    internal ReadOnlySpan<byte> HashBytes(int slot) => _group.Span.Slice(PatchGroupLayout.HeaderSize + RankOf(slot) * ContentHash.Size, ContentHash.Size);

    /// <summary>All of it for who reads slot after slot: its memory is looked up once.</summary>
    /// <exception cref="StoreDamagedException">The payload is no such zstd frame.</exception>
    internal Opened Open() => new(this, _group.Span[PatchGroupLayout.HeaderSize..], Payload());

    /// <summary>The chunk that a live slot's patch changes: a page in a frame.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead.</exception>
    public ChunkLocation Anchor(int slot) => _anchors[RankOf(slot)];

    /// <summary>A live slot's patch; valid as long as the group.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead, or the payload is no such zstd frame.</exception>
    public ReadOnlySpan<byte> Patch(int slot)
    {
        var rank = RankOf(slot);
        var start = rank == 0 ? 0 : _ends[rank - 1];
        return Payload()[start.._ends[rank]];
    }

    /// <summary>Applies a live slot's patch to its anchor's page and checks what comes out.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead, or the page is not what its content address says.</exception>
    public void Apply(int slot, Span<byte> page)
    {
        if (!PatchCodec.Apply(Patch(slot), page)) throw Damaged(Id, $"slot {slot} has no patch");
        if (PageHash.Of(page) != Hash(slot)) throw NotItsAddress(Id, slot, Anchor(slot));
    }

    /// <summary>The group without some of its slots, under the same key; null if none would be left.</summary>
    /// <param name="dead">Bit N set: slot N goes. Slots that are dead already may be set.</param>
    /// <param name="compression">How to compress the rest.</param>
    public byte[]? Without(ulong dead, Compression compression)
    {
        if ((Live & ~dead) == 0) return null;
        var builder = new PatchGroupBuilder();
        builder.Start(Id);
        for (var slot = 0; slot < Slots; slot++)
        {
            if (IsLive(slot) && (dead >> slot & 1) == 0) builder.Add(Hash(slot), Anchor(slot), Patch(slot));
            else builder.AddDead();
        }

        return builder.Finish(compression);
    }

    /// <summary>A copy in memory of its own, unpacked, without the packed form.</summary>
    /// <param name="patches">False to leave the patches out: it is about content addresses and anchors only.</param>
    /// <param name="rent">Gives that memory: at least so many bytes.</param>
    /// <exception cref="StoreDamagedException">The payload is no such zstd frame.</exception>
    internal PatchGroup Detached(bool patches, Func<int, byte[]>? rent = null)
    {
        var head = PatchGroupLayout.HeaderSize + LiveCount * ContentHash.Size;
        var size = patches ? head + PatchBytes : head;
        var bytes = rent?.Invoke(size) ?? GC.AllocateUninitializedArray<byte>(size);
        _group.Span[..head].CopyTo(bytes);
        if (patches)
        {
            if (_codec == FrameCodec.None) _payload.Span.CopyTo(bytes.AsSpan(head));
            else Unpack(bytes.AsSpan(head, PatchBytes));
        }

        return new PatchGroup(Id, FrameCodec.None, Slots, Live, bytes.AsMemory(0, size), bytes.AsMemory(head, size - head), _anchors[..LiveCount], _ends[..LiveCount]);
    }

    /// <summary>Unpacks into memory that is used again for other groups: what this group gives is valid until then.</summary>
    /// <param name="buffer">At least <see cref="PatchBytes"/>.</param>
    /// <exception cref="StoreDamagedException">The payload is no such zstd frame.</exception>
    internal void UnpackInto(byte[] buffer)
    {
        if (_codec == FrameCodec.None) return;
        Unpack(buffer.AsSpan(0, PatchBytes));
        Volatile.Write(ref _unpacked, buffer);
    }

    /// <summary>The error of a page that its patch does not make.</summary>
    internal static StoreDamagedException NotItsAddress(PatchGroupId id, int slot, ChunkLocation anchor) =>
        Damaged(id, $"slot {slot}, a patch to slot {anchor.Slot} of {FrameId.Of(anchor)}, is not what its content address says");

    /// <summary>Reads all of it: as many anchors and ends as there is room for, and then it must be at its end.</summary>
    private static void ReadDirectory(PatchGroupId id, ReadOnlySpan<byte> bytes, FormatLimits limits, Span<ChunkLocation> anchors, Span<int> ends)
    {
        var reader = new ByteReader(bytes);
        var last = PatchGroupLayout.FirstReference(id);
        var end = 0;
        for (var i = 0; i < anchors.Length; i++)
        {
            var crid = new Crid(last.Crid.Value + (ulong)reader.SignedVarint());
            var step = reader.SignedVarint();
            var length = reader.Varint();
            var ordinal = last.Ordinal + step;
            if (reader.Failed || !crid.IsSome || step is < -(long)ChunkLocation.FirstPatch or > ChunkLocation.FirstPatch || ordinal is < 0 or >= ChunkLocation.FirstPatch)
                throw Damaged(id, "a directory that names no anchor");
            if (length < 1 || length > (ulong)limits.MaxPatchBytes) throw Damaged(id, $"a patch of {length} bytes");
            anchors[i] = last = new ChunkLocation(crid, (uint)ordinal);
            ends[i] = end += (int)length;
        }

        if (!reader.AtEnd) throw Damaged(id, "bytes behind its directory");
    }

    /// <summary>A group's patches, by the rank of their slot among the live ones.</summary>
    internal readonly ref struct Opened(PatchGroup group, ReadOnlySpan<byte> hashes, ReadOnlySpan<byte> patches)
    {
        private readonly ReadOnlySpan<byte> hashes = hashes, patches = patches;

        /// <summary>Position of a live slot among the live ones.</summary>
        /// <exception cref="StoreDamagedException">The slot is dead.</exception>
        public int RankOf(int slot) => group.RankOf(slot);

        /// <summary>Content address of the page that it makes, as it is stored.</summary>
        public ReadOnlySpan<byte> Hash(int rank) => hashes.Slice(rank * ContentHash.Size, ContentHash.Size);

        /// <summary>The chunk that it changes.</summary>
        public ChunkLocation Anchor(int rank) => group._anchors[rank];

        /// <summary>The patch.</summary>
        public ReadOnlySpan<byte> Patch(int rank)
        {
            var start = rank == 0 ? 0 : group._ends[rank - 1];
            return patches[start..group._ends[rank]];
        }
    }

    /// <summary>Of each live slot: its anchor, and where its patch ends in the unpacked payload.</summary>
    internal readonly record struct Directory(ChunkLocation[] Anchors, int[] Ends)
    {
        /// <summary>Room for some.</summary>
        public Directory(int slots)
            : this(new ChunkLocation[slots], new int[slots])
        {
        }
    }

    private static StoreDamagedException Damaged(PatchGroupId id, string what) => new($"{id}: {what}");

    private int RankOf(int slot) => IsLive(slot) ? PatchGroupLayout.Rank(Live, slot) : throw Damaged(Id, $"slot {slot} has no content");

    private ReadOnlySpan<byte> Payload()
    {
        if (_codec == FrameCodec.None) return _payload.Span;

        // Two threads may both unpack the first time; either result is right.
        if (Volatile.Read(ref _unpacked) is { } patches) return patches;
        patches = GC.AllocateUninitializedArray<byte>(PatchBytes);
        Unpack(patches);
        Volatile.Write(ref _unpacked, patches);
        return patches;
    }

    private void Unpack(Span<byte> destination)
    {
        var length = ZstdDecompressor.ThisThread.Unwrap(_payload.Span, destination, out var error);
        if (length < 0) throw Damaged(Id, $"zstd: {error}");
        if (length != destination.Length) throw Damaged(Id, $"unpacks to {length} bytes instead of {destination.Length}");
    }
}
