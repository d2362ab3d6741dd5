using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;

namespace Crstore.Store.Reading;

/// <summary>Page-map roots and segments from the column family `maps`.</summary>
internal sealed class StoreSegments(RocksDb db) : ISegmentSource
{
    /// <inheritdoc/>
    public SegmentCache? Kept { get; set; }

    /// <inheritdoc/>
    public ReadOnlyMemory<byte> Load(Crid writer, SpaceId space, ulong segment)
    {
        Span<byte> key = stackalloc byte[Keys.SegmentSize];
        Keys.Segment(writer, space, segment, key);
        return db.Get(ColumnFamily.Maps, key);
    }

    /// <summary>The page map of an address space; null if the checkpoint has none with that number.</summary>
    public PageMap? Open(Crid crid, SpaceId space) =>
        db.Get(ColumnFamily.Maps, Keys.Root(crid, space)) is { } root ? new PageMap(crid, space, root, this) : null;
}
