using System.Buffers.Binary;
using System.Text;
using Crstore.Model;
using Crstore.Store.Codec;
using Crstore.Store.Native;

namespace Crstore.Store;

/// <summary>Store-wide numbers in the column family `meta`: eight bytes, big endian, and a checksum. Missing means 0.</summary>
internal static class StoreMeta
{
    /// <summary>Bumped by each gc when it drops index entries: a snapshot with this generation can't find them any more.</summary>
    public const string GcGeneration = "gc_generation";

    /// <summary>The highest generation whose dead were freed: sessions that began before it may not commit.</summary>
    public const string GcFreed = "gc_freed";

    /// <summary>The generation of the last gc that freed all that it had condemned: behind the others, one was cut short.</summary>
    public const string GcDone = "gc_done";

    /// <summary>Bumped by each forget: gc must not mistake what was forgotten between its two looks for what was dead in both.</summary>
    public const string Forgets = "forgets";

    /// <summary>Commits that were cut short before their index SSTs were in: entries of live chunks are missing. The next gc looks at everything.</summary>
    public const string IndexOwed = "index_owed";

    /// <summary>The highest CRID ever committed, for a lost counter.</summary>
    public const string HighestCrid = "highest_crid";

    /// <summary>The last dictionary's number.</summary>
    public const string Dictionaries = "dictionaries";

    /// <summary>The frame before which all are to be packed with the last dictionary, whatever cuts short the run that made it.</summary>
    public const string DictionaryUntilCrid = "dictionary_until_crid", DictionaryUntilNumber = "dictionary_until_number";

    /// <summary>The first and the second half of the store id.</summary>
    public const string IdHigh = "store_id_high", IdLow = "store_id_low";

    /// <summary>Reads a number.</summary>
    public static ulong Read(RocksDb db, string name)
    {
        using var value = db.GetPinned(ColumnFamily.Meta, Encoding.ASCII.GetBytes(name));
        if (!value.Exists) return 0;
        var bytes = value.Span;
        return bytes.Length == 12 && BinaryPrimitives.ReadUInt32BigEndian(bytes[8..]) == Checksum(name, bytes[..8])
            ? BinaryPrimitives.ReadUInt64BigEndian(bytes)
            : throw new StoreDamagedException($"the store's value {name} is damaged");
    }

    /// <summary>Puts a number into a batch.</summary>
    public static void Put(RocksWriteBatch batch, string name, ulong value)
    {
        var (key, bytes) = Entry(name, value);
        batch.Put(ColumnFamily.Meta, key, bytes);
    }

    /// <summary>The store id as the database knows it; null in a new one.</summary>
    public static Guid? StoreId(RocksDb db)
    {
        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, Read(db, IdHigh));
        BinaryPrimitives.WriteUInt64BigEndian(bytes[8..], Read(db, IdLow));
        var id = new Guid(bytes, bigEndian: true);
        return id == Guid.Empty ? null : id;
    }

    /// <summary>The entries that tell a store id.</summary>
    public static (byte[] Key, byte[] Value)[] StoreIdEntries(Guid id)
    {
        Span<byte> bytes = stackalloc byte[16];
        id.TryWriteBytes(bytes, bigEndian: true, out _);
        return [Entry(IdHigh, BinaryPrimitives.ReadUInt64BigEndian(bytes)), Entry(IdLow, BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]))];
    }

    private static (byte[] Key, byte[] Value) Entry(string name, ulong value)
    {
        var bytes = new byte[12];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(8), Checksum(name, bytes.AsSpan(0, 8)));
        return (Encoding.ASCII.GetBytes(name), bytes);
    }

    private static uint Checksum(string name, ReadOnlySpan<byte> value)
    {
        var crc = new Crc32C(0x6d657461); // "meta"
        crc.Append(Encoding.ASCII.GetBytes(name));
        crc.Append(value);
        return crc.Value;
    }
}
