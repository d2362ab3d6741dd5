using System.Runtime.InteropServices;

namespace Crstore.Store.Native;

/// <summary>The part of rocksdb/c.h (7.8) that is used here. Handles are opaque; every function that can fail sets <c>error</c> to a malloc'ed string.</summary>
internal static unsafe partial class RocksNative
{
    private const string Lib = "librocksdb.so.7.8";

    /// <summary>True if the library can be loaded.</summary>
    public static bool IsPresent => NativeLibrary.TryLoad(Lib, typeof(RocksNative).Assembly, null, out _);

    [LibraryImport(Lib)] public static partial nint rocksdb_options_create();
    [LibraryImport(Lib)] public static partial void rocksdb_options_destroy(nint options);
    [LibraryImport(Lib, StringMarshalling = StringMarshalling.Utf8)]
    public static partial void rocksdb_get_options_from_string(nint baseOptions, string text, nint newOptions, out nint error);
    [LibraryImport(Lib)] public static partial void rocksdb_options_set_block_based_table_factory(nint options, nint tableOptions);

    [LibraryImport(Lib)] public static partial nint rocksdb_block_based_options_create();
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_destroy(nint options);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_block_size(nint options, nuint size);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_filter_policy(nint options, nint policy);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_no_block_cache(nint options, byte value);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_block_cache(nint options, nint cache);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_format_version(nint options, int version);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_index_type(nint options, int type);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_partition_filters(nint options, byte value);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_metadata_block_size(nint options, ulong size);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_cache_index_and_filter_blocks(nint options, byte value);
    [LibraryImport(Lib)] public static partial void rocksdb_block_based_options_set_pin_top_level_index_and_filter(nint options, byte value);
    [LibraryImport(Lib)] public static partial nint rocksdb_filterpolicy_create_bloom_full(double bitsPerKey);
    [LibraryImport(Lib)] public static partial nint rocksdb_cache_create_lru(nuint capacity);
    [LibraryImport(Lib)] public static partial void rocksdb_cache_destroy(nint cache);

    [LibraryImport(Lib)]
    public static partial nint rocksdb_open_column_families(nint options, byte* path, int count, byte** names, nint* cfOptions, nint* handles, out nint error);
    [LibraryImport(Lib)]
    public static partial nint rocksdb_open_for_read_only_column_families(nint options, byte* path, int count, byte** names, nint* cfOptions, nint* handles, byte errorIfWal, out nint error);
    [LibraryImport(Lib)] public static partial void rocksdb_column_family_handle_destroy(nint handle);
    [LibraryImport(Lib)] public static partial void rocksdb_close(nint db);
    [LibraryImport(Lib)] public static partial void rocksdb_cancel_all_background_work(nint db, byte wait);

    [LibraryImport(Lib)] public static partial nint rocksdb_readoptions_create();
    [LibraryImport(Lib)] public static partial void rocksdb_readoptions_destroy(nint options);
    [LibraryImport(Lib)] public static partial void rocksdb_readoptions_set_fill_cache(nint options, byte value);
    [LibraryImport(Lib)] public static partial void rocksdb_readoptions_set_readahead_size(nint options, nuint value);
    [LibraryImport(Lib)] public static partial nint rocksdb_writeoptions_create();
    [LibraryImport(Lib)] public static partial void rocksdb_writeoptions_destroy(nint options);
    [LibraryImport(Lib)] public static partial void rocksdb_writeoptions_set_sync(nint options, byte value);

    [LibraryImport(Lib)] public static partial nint rocksdb_get_pinned_cf(nint db, nint options, nint cf, byte* key, nuint keyLength, out nint error);
    [LibraryImport(Lib)] public static partial byte* rocksdb_pinnableslice_value(nint slice, out nuint length);
    [LibraryImport(Lib)] public static partial void rocksdb_pinnableslice_destroy(nint slice);
    [LibraryImport(Lib)]
    public static partial void rocksdb_batched_multi_get_cf(nint db, nint options, nint cf, nuint count, byte** keys, nuint* keyLengths, nint* values, nint* errors, byte sorted);

    [LibraryImport(Lib)] public static partial nint rocksdb_create_iterator_cf(nint db, nint options, nint cf);
    [LibraryImport(Lib)] public static partial void rocksdb_iter_destroy(nint iterator);
    [LibraryImport(Lib)] public static partial byte rocksdb_iter_valid(nint iterator);
    [LibraryImport(Lib)] public static partial void rocksdb_iter_seek_to_first(nint iterator);
    [LibraryImport(Lib)] public static partial void rocksdb_iter_seek_to_last(nint iterator);
    [LibraryImport(Lib)] public static partial void rocksdb_iter_seek(nint iterator, byte* key, nuint keyLength);
    [LibraryImport(Lib)] public static partial void rocksdb_iter_next(nint iterator);
    [LibraryImport(Lib)] public static partial byte* rocksdb_iter_key(nint iterator, out nuint length);
    [LibraryImport(Lib)] public static partial byte* rocksdb_iter_value(nint iterator, out nuint length);
    [LibraryImport(Lib)] public static partial void rocksdb_iter_get_error(nint iterator, out nint error);

    [LibraryImport(Lib)] public static partial nint rocksdb_writebatch_create();
    [LibraryImport(Lib)] public static partial void rocksdb_writebatch_destroy(nint batch);
    [LibraryImport(Lib)] public static partial void rocksdb_writebatch_clear(nint batch);
    [LibraryImport(Lib)] public static partial int rocksdb_writebatch_count(nint batch);
    [LibraryImport(Lib)] public static partial void rocksdb_writebatch_put_cf(nint batch, nint cf, byte* key, nuint keyLength, byte* value, nuint valueLength);
    [LibraryImport(Lib)] public static partial void rocksdb_writebatch_delete_cf(nint batch, nint cf, byte* key, nuint keyLength);
    [LibraryImport(Lib)] public static partial void rocksdb_writebatch_delete_range_cf(nint batch, nint cf, byte* from, nuint fromLength, byte* to, nuint toLength);
    [LibraryImport(Lib)] public static partial void rocksdb_write(nint db, nint options, nint batch, out nint error);

    [LibraryImport(Lib)] public static partial nint rocksdb_envoptions_create();
    [LibraryImport(Lib)] public static partial void rocksdb_envoptions_destroy(nint options);
    [LibraryImport(Lib)] public static partial nint rocksdb_sstfilewriter_create(nint env, nint options);
    [LibraryImport(Lib)] public static partial void rocksdb_sstfilewriter_open(nint writer, byte* path, out nint error);
    [LibraryImport(Lib)] public static partial void rocksdb_sstfilewriter_put(nint writer, byte* key, nuint keyLength, byte* value, nuint valueLength, out nint error);
    [LibraryImport(Lib)] public static partial void rocksdb_sstfilewriter_finish(nint writer, out nint error);
    [LibraryImport(Lib)] public static partial void rocksdb_sstfilewriter_file_size(nint writer, out ulong size);
    [LibraryImport(Lib)] public static partial void rocksdb_sstfilewriter_destroy(nint writer);
    [LibraryImport(Lib)] public static partial nint rocksdb_ingestexternalfileoptions_create();
    [LibraryImport(Lib)] public static partial void rocksdb_ingestexternalfileoptions_set_move_files(nint options, byte value);
    [LibraryImport(Lib)] public static partial void rocksdb_ingestexternalfileoptions_destroy(nint options);
    [LibraryImport(Lib)]
    public static partial void rocksdb_ingest_external_file_cf(nint db, nint cf, byte** files, nuint count, nint options, out nint error);

    [LibraryImport(Lib)] public static partial nint rocksdb_compactoptions_create();
    [LibraryImport(Lib)] public static partial void rocksdb_compactoptions_destroy(nint options);
    [LibraryImport(Lib)] public static partial void rocksdb_compactoptions_set_bottommost_level_compaction(nint options, byte value);
    [LibraryImport(Lib)] public static partial void rocksdb_compact_range_cf_opt(nint db, nint cf, nint options, byte* from, nuint fromLength, byte* to, nuint toLength);
    [LibraryImport(Lib)] public static partial void rocksdb_delete_file_in_range_cf(nint db, nint cf, byte* from, nuint fromLength, byte* to, nuint toLength, out nint error);
    [LibraryImport(Lib)] public static partial nint rocksdb_flushoptions_create();
    [LibraryImport(Lib)] public static partial void rocksdb_flushoptions_destroy(nint options);
    [LibraryImport(Lib)] public static partial void rocksdb_flush_cf(nint db, nint options, nint cf, out nint error);
    [LibraryImport(Lib)] public static partial void rocksdb_set_options_cf(nint db, nint cf, int count, byte** keys, byte** values, out nint error);
    [LibraryImport(Lib)] public static partial int rocksdb_property_int_cf(nint db, nint cf, byte* name, out ulong value);
    [LibraryImport(Lib)] public static partial nint rocksdb_property_value_cf(nint db, nint cf, byte* name);
    [LibraryImport(Lib)] public static partial nint rocksdb_livefiles(nint db);
    [LibraryImport(Lib)] public static partial void rocksdb_livefiles_destroy(nint files);
    [LibraryImport(Lib)] public static partial int rocksdb_livefiles_count(nint files);
    [LibraryImport(Lib)] public static partial byte* rocksdb_livefiles_column_family_name(nint files, int index);
    [LibraryImport(Lib)] public static partial byte* rocksdb_livefiles_name(nint files, int index);
    [LibraryImport(Lib)] public static partial nuint rocksdb_livefiles_size(nint files, int index);
    [LibraryImport(Lib)] public static partial byte* rocksdb_livefiles_smallestkey(nint files, int index, out nuint length);
    [LibraryImport(Lib)] public static partial byte* rocksdb_livefiles_largestkey(nint files, int index, out nuint length);
    [LibraryImport(Lib)] public static partial void rocksdb_free(nint pointer);
}
