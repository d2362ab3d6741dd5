using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Maintenance;

/// <summary>Walks over the column family `maps`: roots and segments by CRID and space.</summary>
internal static class MapScan
{
    /// <summary>All roots, in order, without reading the segments between them.</summary>
    public static IEnumerable<(Crid Crid, SpaceId Space, byte[] Root)> Roots(RocksDb db)
    {
        using var i = db.Iterate(ColumnFamily.Maps);
        var there = i.SeekToFirst();
        while (there)
        {
            var key = i.Key.ToArray();
            if (key.Length == Keys.RootSize) yield return (Keys.CridOf(key), SpaceOf(key), i.Value.ToArray());

            // Behind the last segment that this space can have.
            var next = new byte[Keys.SegmentSize + 1];
            next.AsSpan().Fill(byte.MaxValue);
            key.AsSpan(0, Keys.RootSize).CopyTo(next);
            there = i.Seek(next);
        }
    }

    /// <summary>The roots of one CRID.</summary>
    public static IEnumerable<SpaceId> Spaces(RocksDb db, Crid crid)
    {
        using var i = db.Iterate(ColumnFamily.Maps);
        var there = i.Seek(Keys.Crid(crid));
        while (there && Keys.CridOf(i.Key) == crid)
        {
            var key = i.Key.ToArray();
            if (key.Length == Keys.RootSize) yield return SpaceOf(key);
            var next = new byte[Keys.SegmentSize + 1];
            next.AsSpan().Fill(byte.MaxValue);
            key.AsSpan(0, Keys.RootSize).CopyTo(next);
            there = i.Seek(next);
        }
    }

    /// <summary>Splits a key; the segment number is null for a root.</summary>
    /// <exception cref="StoreDamagedException">It is no key of this column family.</exception>
    public static (Crid Crid, SpaceId Space, ulong? Segment) Split(ReadOnlySpan<byte> key) => key.Length switch
    {
        Keys.RootSize => (Keys.CridOf(key), SpaceOf(key), null),
        Keys.SegmentSize => (Keys.CridOf(key), SpaceOf(key), BinaryPrimitives.ReadUInt64BigEndian(key[Keys.RootSize..])),
        _ => throw new StoreDamagedException($"a page-map key of {key.Length} bytes"),
    };

    private static SpaceId SpaceOf(ReadOnlySpan<byte> key) => new(BinaryPrimitives.ReadUInt32BigEndian(key[8..]));
}
