using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Store.Codec;
using Crstore.Store.Frames;
using Crstore.Store.Native;

namespace Crstore.Store.Patches;

/// <summary>Makes patch groups: patches are added slot by slot. Its buffers are used again for the next group. Not thread safe.</summary>
public sealed class PatchGroupBuilder
{
    // Less than 1/8 saved isn't worth unpacking on every read: a group is read for a few of its patches, and is small as it is.
    private const int WorthwhileShift = 3;

    private readonly byte[] _hashes = new byte[PatchGroupId.Slots * ContentHash.Size];
    private readonly byte[] _patches = new byte[PatchGroupId.Slots * FormatLimits.Default.MaxPatchBytes];
    private readonly byte[] _packed = new byte[ZstdCompressor.Bound(PatchGroupId.Slots * FormatLimits.Default.MaxPatchBytes)];
    private readonly ByteWriter _directory = new();
    private PatchGroupId _id;
    private ChunkLocation _last;
    private ulong _live;
    private int _count, _bytes;

    /// <summary>Slots so far, dead ones too.</summary>
    public int Slots { get; private set; }

    /// <summary>No more slots fit.</summary>
    public bool IsFull => Slots == PatchGroupId.Slots;

    /// <summary>Starts a group.</summary>
    public void Start(PatchGroupId id)
    {
        (_id, _live, _count, _bytes, Slots) = (id, 0, 0, 0, 0);
        _last = PatchGroupLayout.FirstReference(id);
        _directory.Clear();
    }

    /// <summary>Adds a patch in the next slot.</summary>
    /// <param name="hash">Content address of the page that it makes. It is the caller's word: readers check it.</param>
    /// <param name="anchor">The chunk that it changes, which must not be a patch itself.</param>
    /// <param name="patch">As <see cref="PatchCodec"/> makes it.</param>
    public void Add(in ContentHash hash, ChunkLocation anchor, ReadOnlySpan<byte> patch)
    {
        if (IsFull) throw new InvalidOperationException($"{_id} is full");
        if (anchor.IsPatch || !anchor.Crid.IsSome) throw new ArgumentException("an anchor that is no page in a frame", nameof(anchor));
        if (patch.IsEmpty || patch.Length > FormatLimits.Default.MaxPatchBytes) throw new ArgumentException($"a patch of {patch.Length} bytes", nameof(patch));
        hash.Write(_hashes.AsSpan(_count * ContentHash.Size));
        _directory.SignedVarint((long)(anchor.Crid.Value - _last.Crid.Value));
        _directory.SignedVarint((long)anchor.Ordinal - _last.Ordinal);
        _directory.Varint((ulong)patch.Length);
        patch.CopyTo(_patches.AsSpan(_bytes));
        _last = anchor;
        _live |= 1UL << Slots;
        _bytes += patch.Length;
        _count++;
        Slots++;
    }

    /// <summary>Leaves the next slot dead.</summary>
    public void AddDead() => Slots++;

    /// <summary>The finished group. At least one slot must be live.</summary>
    /// <param name="compression">How; what does not shrink is stored as it is.</param>
    public byte[] Finish(Compression compression)
    {
        if (_count == 0) throw new InvalidOperationException($"{_id} has no patches");
        var payload = Pack(compression, out var codec);
        var hashes = _hashes.AsSpan(0, _count * ContentHash.Size);
        var directory = _directory.Written;
        var group = new byte[PatchGroupLayout.HeaderSize + hashes.Length + directory.Length + payload.Length + Crc32C.Size];
        var rest = group.AsSpan();
        (rest[0], rest[1], rest[2]) = (PatchGroupLayout.Version, (byte)codec, (byte)Slots);
        BinaryPrimitives.WriteUInt64LittleEndian(rest[4..], _live);
        BinaryPrimitives.WriteInt32LittleEndian(rest[12..], payload.Length);
        rest = rest[PatchGroupLayout.HeaderSize..];
        hashes.CopyTo(rest);
        directory.CopyTo(rest[hashes.Length..]);
        payload.CopyTo(rest[(hashes.Length + directory.Length)..]);
        BinaryPrimitives.WriteUInt32LittleEndian(group.AsSpan(group.Length - Crc32C.Size), PatchGroupLayout.Checksum(_id, group.AsSpan(0, group.Length - Crc32C.Size)));
        return group;
    }

    private ReadOnlySpan<byte> Pack(Compression compression, out FrameCodec codec)
    {
        var patches = _patches.AsSpan(0, _bytes);
        if (compression.ZstdLevel is { } level)
        {
            codec = FrameCodec.Zstd;
            var length = ZstdCompressor.ThisThread.Wrap(patches, _packed, level);
            if (length < _bytes - (_bytes >> WorthwhileShift)) return _packed.AsSpan(0, length);
        }

        codec = FrameCodec.None;
        return patches;
    }
}
