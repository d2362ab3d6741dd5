using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Native;

namespace Crstore.Bench;

/// <summary>
/// Fills the index of a store with entries that no page has: content addresses at random, in table files of the usual size. In three sorted runs, one over the
/// other, as compaction leaves them: nine tenths in the lowest, a tenth of the rest over these two.
/// </summary>
internal static class SyntheticIndex
{
    private const int FileKeys = 1_400_000; // 64 MiB
    private static readonly Crid Nobody = new(1UL << 40);

    /// <summary>Bytes on the disk for so many entries.</summary>
    public static long BytesFor(long entries) => entries * 56;

    /// <summary>Adds entries to a store, which is made if need be.</summary>
    public static void Fill(string directory, long entries, int seed)
    {
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(directory), out _);
        using var db = RocksDb.Open(store.Paths.Database, RocksMode.ReadWrite);
        foreach (var run in new[] { entries * 9 / 10, entries * 9 / 100, entries / 100 })
        {
            var files = Enumerable.Range(0, (int)((run + FileKeys - 1) / FileKeys)).Select(i => store.Paths.IncomingFile(Nobody, $"run{run}", i)).ToList();
            Parallel.For(0, files.Count, i => Write(files[i], run, run * i / files.Count, run * (i + 1) / files.Count, seed + i));
            db.Ingest(ColumnFamily.Index, files);
        }
    }

    private static void Write(string path, long run, long first, long end, int seed)
    {
        var random = new Random(seed);
        var gap = (ulong)((UInt128.One << 64) / (ulong)run);
        using var writer = new RocksSstWriter(path, ColumnFamily.Index);
        Span<byte> key = stackalloc byte[ContentHash.Size];
        Span<byte> value = stackalloc byte[Crstore.Store.Keys.LocationSize];
        for (var i = first; i < end; i++)
        {
            random.NextBytes(key);
            (ContentHash.Read(key) with { A = (ulong)i * gap + (ulong)random.NextInt64((long)Math.Min(gap, long.MaxValue)) }).Write(key);
            Crstore.Store.Keys.Location(new ChunkLocation(Nobody, (uint)i), value);
            writer.Put(key, value);
        }

        writer.Finish();
    }
}
