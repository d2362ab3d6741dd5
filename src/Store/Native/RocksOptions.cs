using System.Globalization;

namespace Crstore.Store.Native;

/// <summary>The options of the database and of each column family, with the reasons.</summary>
internal sealed class RocksOptions : IDisposable
{
    private const int CacheBytes = 32 << 20, ManyTables = 32;
    private const double BitsPerKey = 10; // one in a hundred probes finds an entry that isn't there
    private readonly nint cache;
    private readonly Dictionary<ColumnFamily, nint> families = [];

    /// <summary>Makes them.</summary>
    /// <param name="only">The one column family that is wanted; null: all. Each takes parsing.</param>
    /// <param name="tables">Table files that will be opened with it.</param>
    /// <param name="complete">Make column families that are missing.</param>
    public RocksOptions(ColumnFamily? only = null, int tables = 0, bool complete = false)
    {
        cache = RocksNative.rocksdb_cache_create_lru(CacheBytes);
        var plain = RocksNative.rocksdb_options_create();
        try
        {
            Database = Parse(plain, DatabaseText(tables < ManyTables ? 1 : 2, complete));
            foreach (var family in Enum.GetValues<ColumnFamily>())
                if (only is null || only == family) families[family] = FamilyOptions(Database, family);
        }
        finally
        {
            RocksNative.rocksdb_options_destroy(plain);
        }
    }

    /// <summary>Of the database.</summary>
    public nint Database { get; }

    /// <summary>Of a column family.</summary>
    public nint Of(ColumnFamily family) => families[family];

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var options in families.Values) RocksNative.rocksdb_options_destroy(options);
        families.Clear();
        RocksNative.rocksdb_options_destroy(Database);
        RocksNative.rocksdb_cache_destroy(cache);
    }

    /// <summary>
    /// Of the database. A second thread that opens tables waits for the disk beside the first; RocksDB starts one for each column family, and aborts where none is to be had
    /// (RLIMIT_NPROC, pids.max): not for a few tables.
    /// </summary>
    private static string DatabaseText(int openingThreads, bool complete) => string.Join(';',
        $"create_missing_column_families={(complete ? "true" : "false")}",
        "advise_random_on_open=false",        // on, it makes a cold restore three times slower
        "max_open_files=-1",                  // a reader holds every file open, so the owner may delete them
        "skip_stats_update_on_db_open=true",
        "max_total_wal_size=33554432",        // every open replays the WAL
        "avoid_flush_during_recovery=true",   // or every short-lived writer would leave a level 0 file per column family; hence RocksDb.SyncLogs
        "wal_recovery_mode=kTolerateCorruptedTailRecords", // a torn tail is a crash, a bad record before it is damage: say so
        "allow_fallocate=false",              // a killed writer would leave the room set aside for its WAL
        "max_background_jobs=2",
        string.Create(CultureInfo.InvariantCulture, $"max_file_opening_threads={openingThreads}"),
        "info_log_level=WARN_LEVEL",
        "keep_log_file_num=2",
        "max_log_file_size=1048576",
        "stats_dump_period_sec=0",
        "stats_persist_period_sec=0",
        "bytes_per_sync=4194304",
        "max_manifest_file_size=4194304");

    /// <summary>
    /// Nothing is compacted on its own from the moment of opening: a compaction that meets a damaged block would take the database's right to write
    /// before the commit is done, and this in each process anew. Housekeeping turns it on when the commit is behind it.
    /// </summary>
    private static string FamilyText(ColumnFamily family) => "disable_auto_compactions=true;" + family switch
    {
        // Frames are compressed already; ingested files are never to be rewritten for their level's sake.
        ColumnFamily.Chunks => "compression=kNoCompression;write_buffer_size=33554432;target_file_size_base=67108864;max_bytes_for_level_base=268435456",
        ColumnFamily.Patches => "compression=kNoCompression;write_buffer_size=16777216",
        // Most probes are for what is not there: a filter of the memtable too, some 13 bits for each of its entries. Of the 57 bytes that an entry takes 32 are its address; of the others
        // the quickest packer leaves a third.
        ColumnFamily.Index => "compression=kLZ4Compression;write_buffer_size=16777216;memtable_prefix_bloom_size_ratio=0.02;memtable_whole_key_filtering=true",
        ColumnFamily.Maps => "compression=kNoCompression;write_buffer_size=8388608",
        ColumnFamily.Dictionaries => "compression=kNoCompression;write_buffer_size=16777216",
        ColumnFamily.Bodies => "compression=kZSTD;write_buffer_size=8388608",
        _ => "compression=kNoCompression;write_buffer_size=4194304",
    };

    private static nint Parse(nint start, string text)
    {
        var parsed = RocksNative.rocksdb_options_create();
        RocksNative.rocksdb_get_options_from_string(start, text, parsed, out var error);
        try
        {
            RocksError.Check(error, "options");
            return parsed;
        }
        catch
        {
            RocksNative.rocksdb_options_destroy(parsed);
            throw;
        }
    }

    private nint FamilyOptions(nint database, ColumnFamily family)
    {
        var options = Parse(database, FamilyText(family));
        var table = RocksNative.rocksdb_block_based_options_create();
        RocksNative.rocksdb_block_based_options_set_format_version(table, 5);

        // Small blocks, so that one frame is one block.
        RocksNative.rocksdb_block_based_options_set_block_size(table, 4096);
        if (family is ColumnFamily.Chunks or ColumnFamily.Patches or ColumnFamily.Dictionaries)
            RocksNative.rocksdb_block_based_options_set_no_block_cache(table, 1); // frames and dictionaries have their own cache
        else
            RocksNative.rocksdb_block_based_options_set_block_cache(table, cache);
        if (family == ColumnFamily.Index) FindByParts(table);
        RocksNative.rocksdb_options_set_block_based_table_factory(options, table);
        RocksNative.rocksdb_block_based_options_destroy(table);
        return options;
    }

    // Most probes are for pages that aren't there: a filter. Filter and index blocks of 100 million entries are 150 MB, which every opening would
    // read, and every process keep; by parts of 4 KiB a probe reads the part that it needs, and the cache bounds what is kept.
    private static void FindByParts(nint table)
    {
        const int TwoLevelIndexSearch = 2; // rocksdb_block_based_table_index_type_two_level_index_search, rocksdb/c.h
        RocksNative.rocksdb_block_based_options_set_filter_policy(table, RocksNative.rocksdb_filterpolicy_create_bloom_full(BitsPerKey));
        RocksNative.rocksdb_block_based_options_set_index_type(table, TwoLevelIndexSearch);
        RocksNative.rocksdb_block_based_options_set_partition_filters(table, 1);
        RocksNative.rocksdb_block_based_options_set_metadata_block_size(table, 4096);
        RocksNative.rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
        RocksNative.rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
    }
}
