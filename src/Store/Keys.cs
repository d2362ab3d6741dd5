using System.Buffers.Binary;
using System.Text;
using Crstore.Model;
using Crstore.Store.Dictionaries;
using Crstore.Store.Frames;
using Crstore.Store.Patches;

namespace Crstore.Store;

/// <summary>
/// The keys of every column family, and the values that are plain numbers. Numbers in keys are big endian, so that keys
/// sort by CRID: what one capture stored lies together (docs/FORMAT.md).
/// </summary>
internal static class Keys
{
    /// <summary>Bytes of the key of a frame or of a patch group.</summary>
    public const int FrameSize = 12;

    /// <summary>Bytes of a page-map root's key, and the prefix of its segments'.</summary>
    public const int RootSize = 12;

    /// <summary>Bytes of a page-map segment's key.</summary>
    public const int SegmentSize = 20;

    /// <summary>Bytes of the key that says that a CRID needs a dictionary.</summary>
    public const int DictionaryUseSize = 20;

    /// <summary>Bytes of a chunk location as the index holds it.</summary>
    public const int LocationSize = 12;

    /// <summary>CRID: manifests, bodies.</summary>
    public static byte[] Crid(Crid crid)
    {
        var key = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(key, crid.Value);
        return key;
    }

    /// <summary>The CRID that a key of chunks, maps, manifests or bodies begins with.</summary>
    public static Crid CridOf(ReadOnlySpan<byte> key) => key.Length >= 8
        ? new Crid(BinaryPrimitives.ReadUInt64BigEndian(key))
        : throw new StoreDamagedException($"a key of {key.Length} bytes where a CRID should be");

    /// <summary>CRID ‖ frame number.</summary>
    public static void Frame(FrameId id, Span<byte> key)
    {
        BinaryPrimitives.WriteUInt64BigEndian(key, id.Crid.Value);
        BinaryPrimitives.WriteUInt32BigEndian(key[8..], id.Number);
    }

    /// <summary>Reads a frame key.</summary>
    public static FrameId FrameOf(ReadOnlySpan<byte> key) => key.Length == FrameSize
        ? new FrameId(CridOf(key), BinaryPrimitives.ReadUInt32BigEndian(key[8..]))
        : throw new StoreDamagedException($"a frame key of {key.Length} bytes");

    /// <summary>CRID ‖ group number.</summary>
    public static void PatchGroup(PatchGroupId id, Span<byte> key)
    {
        BinaryPrimitives.WriteUInt64BigEndian(key, id.Crid.Value);
        BinaryPrimitives.WriteUInt32BigEndian(key[8..], id.Number);
    }

    /// <summary>Reads a patch group's key.</summary>
    public static PatchGroupId PatchGroupOf(ReadOnlySpan<byte> key) => key.Length == FrameSize
        ? new PatchGroupId(CridOf(key), BinaryPrimitives.ReadUInt32BigEndian(key[8..]))
        : throw new StoreDamagedException($"a patch group's key of {key.Length} bytes");

    /// <summary>CRID ‖ space: a page-map root. Its segments follow it.</summary>
    public static byte[] Root(Crid crid, SpaceId space)
    {
        var key = new byte[RootSize];
        BinaryPrimitives.WriteUInt64BigEndian(key, crid.Value);
        BinaryPrimitives.WriteUInt32BigEndian(key.AsSpan(8), space.Value);
        return key;
    }

    /// <summary>CRID ‖ space ‖ segment number.</summary>
    public static void Segment(Crid crid, SpaceId space, ulong segment, Span<byte> key)
    {
        BinaryPrimitives.WriteUInt64BigEndian(key, crid.Value);
        BinaryPrimitives.WriteUInt32BigEndian(key[8..], space.Value);
        BinaryPrimitives.WriteUInt64BigEndian(key[12..], segment);
    }

    /// <summary>Dictionary ‖ piece number: as long as a frame's key. The uses follow the pieces.</summary>
    public static void DictionaryPiece(DictionaryId id, uint piece, Span<byte> key)
    {
        BinaryPrimitives.WriteUInt64BigEndian(key, id.Value);
        BinaryPrimitives.WriteUInt32BigEndian(key[8..], piece);
    }

    /// <summary>Dictionary ‖ 2^32 − 1 ‖ CRID.</summary>
    public static void DictionaryUse(DictionaryId id, Crid user, Span<byte> key)
    {
        DictionaryPiece(id, uint.MaxValue, key);
        BinaryPrimitives.WriteUInt64BigEndian(key[12..], user.Value);
    }

    /// <summary>The dictionary of a key, and the CRID that needs it; null if it is the key of a piece.</summary>
    public static (DictionaryId Id, Crid? User) DictionaryOf(ReadOnlySpan<byte> key) => key.Length switch
    {
        FrameSize => (new DictionaryId(BinaryPrimitives.ReadUInt64BigEndian(key)), null),
        DictionaryUseSize => (new DictionaryId(BinaryPrimitives.ReadUInt64BigEndian(key)), new Crid(BinaryPrimitives.ReadUInt64BigEndian(key[12..]))),
        _ => throw new StoreDamagedException($"a key of {key.Length} bytes among the dictionaries"),
    };

    /// <summary>Name of a series.</summary>
    public static byte[] Series(string name) => Encoding.UTF8.GetBytes(name);

    /// <summary>A chunk location as the index holds it: CRID ‖ ordinal.</summary>
    public static void Location(ChunkLocation location, Span<byte> value)
    {
        BinaryPrimitives.WriteUInt64BigEndian(value, location.Crid.Value);
        BinaryPrimitives.WriteUInt32BigEndian(value[8..], location.Ordinal);
    }

    /// <summary>Reads a chunk location.</summary>
    public static ChunkLocation LocationOf(ReadOnlySpan<byte> value) => value.Length == LocationSize && CridOf(value).IsSome
        ? new ChunkLocation(CridOf(value), BinaryPrimitives.ReadUInt32BigEndian(value[8..]))
        : throw new StoreDamagedException("an index entry that is no chunk location");
}
