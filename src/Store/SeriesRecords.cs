using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Codec;
using Crstore.Store.Native;
using Google.Protobuf;

namespace Crstore.Store;

/// <summary>The stored form of series records: the protobuf message and a CRC-32C that starts from the name.</summary>
internal static class SeriesRecords
{
    /// <summary>Longest name, in bytes of UTF-8.</summary>
    public const int MaxNameBytes = 1024;

    private const int MaxRecordBytes = 4096;

    /// <summary>Refuses names that could not be shown or stored.</summary>
    public static void CheckName(string name)
    {
        if (name.Length == 0 || Keys.Series(name).Length > MaxNameBytes || name.Length > FormatLimits.Default.MaxSeriesChars || name.Any(char.IsControl))
            throw new UsageException($"\"{name}\" is no name for a series", "use 1 to 512 printable characters");
    }

    /// <summary>Reads one; null if there is none.</summary>
    public static SeriesRecord? Read(RocksDb db, string name)
    {
        using var value = db.GetPinned(ColumnFamily.Series, Keys.Series(name));
        return value.Exists ? Decode(Keys.Series(name), value.Span) : null;
    }

    /// <summary>All of them, in the order of their names' bytes.</summary>
    /// <param name="db">The store.</param>
    /// <param name="damaged">Told of each record that can't be read, which is then left out; null: the first one is an error.</param>
    /// <param name="prefix">What their names begin with.</param>
    public static List<SeriesRecord> ReadAll(RocksDb db, Action<string>? damaged = null, string prefix = "")
    {
        var all = new List<SeriesRecord>();
        using var i = db.Iterate(ColumnFamily.Series);
        var first = Keys.Series(prefix);
        for (var there = i.Seek(first); there && i.Key.StartsWith(first); there = i.Next())
        {
            try
            {
                all.Add(Decode(i.Key, i.Value));
            }
            catch (StoreDamagedException e) when (damaged is not null)
            {
                damaged(e.Message);
            }
        }

        return all;
    }

    /// <summary>Puts one into a batch.</summary>
    public static void Put(RocksWriteBatch batch, SeriesRecord record)
    {
        var key = Keys.Series(record.Name);
        var size = record.CalculateSize();
        var bytes = new byte[size + Crc32C.Size];
        record.WriteTo(bytes.AsSpan(0, size));
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(size), Checksum(key, bytes.AsSpan(0, size)));
        batch.Put(ColumnFamily.Series, key, bytes);
    }

    private static SeriesRecord Decode(ReadOnlySpan<byte> key, ReadOnlySpan<byte> bytes)
    {
        var name = System.Text.Encoding.UTF8.GetString(key);
        if (bytes.Length < Crc32C.Size || bytes.Length > MaxRecordBytes ||
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[^Crc32C.Size..]) != Checksum(key, bytes[..^Crc32C.Size]))
            throw new StoreDamagedException($"the record of series \"{name}\" is damaged");
        try
        {
            var record = SeriesRecord.Parser.ParseFrom(bytes[..^Crc32C.Size]);
            return record.Name == name ? record : throw new StoreDamagedException($"the record of series \"{name}\" is another one's");
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new StoreDamagedException($"the record of series \"{name}\" is damaged: {e.Message}", inner: e);
        }
    }

    private static uint Checksum(ReadOnlySpan<byte> key, ReadOnlySpan<byte> content)
    {
        var crc = new Crc32C(0x736572696573); // "series"
        crc.Append(key);
        crc.Append(content);
        return crc.Value;
    }
}
