using Crstore.Store.Native;

namespace Crstore.Store.Maintenance;

/// <summary>Sizes of a store and its parts.</summary>
internal static class StoreSizes
{
    /// <summary>Bytes of the files in a directory and below it. Files that go away meanwhile count as nothing.</summary>
    public static ulong DirectoryBytes(string directory)
    {
        ulong sum = 0;
        foreach (var file in new DirectoryInfo(directory).EnumerateFiles("*", SearchOption.AllDirectories))
        {
            try
            {
                sum += (ulong)file.Length;
            }
            catch (FileNotFoundException)
            {
                continue; // deleted by its owner since it was listed
            }
        }

        return sum;
    }

    /// <summary>Bytes of a column family, in files and in memory.</summary>
    public static ulong Of(RocksDb db, ColumnFamily family) =>
        db.Property(family, "rocksdb.live-sst-files-size") + db.Property(family, "rocksdb.cur-size-all-mem-tables");
}
