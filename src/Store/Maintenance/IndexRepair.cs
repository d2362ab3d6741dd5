using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Maintenance;

/// <summary>Index entries of chunks that came back to life: without them their content would only be stored a second time.</summary>
internal static class IndexRepair
{
    /// <summary>Puts the entries that are missing, in one batch.</summary>
    public static void Add(RocksDb db, IEnumerable<(ContentHash Hash, ChunkLocation Location)> chunks)
    {
        using var batch = db.NewBatch();
        var key = new byte[ContentHash.Size];
        var value = new byte[Keys.LocationSize];
        foreach (var (hash, location) in chunks)
        {
            hash.Write(key);
            if (db.Get(ColumnFamily.Index, key) is not null) continue;
            Keys.Location(location, value);
            batch.Put(ColumnFamily.Index, key, value);
        }

        db.Write(batch);
    }
}
