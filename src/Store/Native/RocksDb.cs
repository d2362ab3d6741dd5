using System.Runtime.InteropServices;
using System.Text;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Dictionaries;
using Crstore.Store.Layout;

namespace Crstore.Store.Native;

/// <summary>The column families of a store, in the order of their handles.</summary>
internal enum ColumnFamily
{
    /// <summary>RocksDB insists on it; unused.</summary>
    Default = 0,

    /// <summary>CRID ‖ frame → frame.</summary>
    Chunks,

    /// <summary>Content hash → chunk location.</summary>
    Index,

    /// <summary>CRID ‖ space [‖ segment] → page-map root or segment.</summary>
    Maps,

    /// <summary>CRID → header: the commit point.</summary>
    Manifests,

    /// <summary>CRID → body.</summary>
    Bodies,

    /// <summary>Name → series record.</summary>
    Series,

    /// <summary>Store-wide values.</summary>
    Meta,

    /// <summary>CRID ‖ group → patch group.</summary>
    Patches,

    /// <summary>Dictionary ‖ piece → part of its content, and which CRIDs have frames that need it.</summary>
    Dictionaries,
}

/// <summary>How to open.</summary>
internal enum RocksMode
{
    /// <summary>As it was at the moment of opening; beside any writer; touches nothing.</summary>
    ReadOnly,

    /// <summary>The one writer.</summary>
    ReadWrite,

    /// <summary>The one writer; makes column families that are missing: RocksDB makes one after the other, and a creation by it may have been cut short.</summary>
    Complete,
}

/// <summary>
/// A RocksDB instance with the store's column families. Owns every native object that hangs on it and destroys them in
/// the one order that works: iterators, column family handles, database, options (Debian's build has asserts on:
/// closing the database before its handles aborts the process).
/// </summary>
internal sealed unsafe class RocksDb : IDisposable
{
    private static readonly string[] Names = ["default", "chunks", "index", "maps", "manifests", "bodies", "series", "meta", "patches", "dictionaries"];
    private readonly Lock gate = new();
    private readonly HashSet<RocksIterator> iterators = [];
    private readonly RocksOptions options;
    private readonly nint readOptions;
    private readonly nint scanOptions;
    private readonly nint syncedWrite;
    private readonly nint write;
    private readonly nint[] families;
    private nint db;

    private RocksDb(string path, RocksMode mode)
    {
        Path = path;
        ReadOnly = mode == RocksMode.ReadOnly;
        options = new RocksOptions(complete: mode == RocksMode.Complete, tables: StoreErrors.Guard(() => Directory.Exists(path) ? Directory.EnumerateFiles(path, "*.sst").Count() : 0));
        families = new nint[Names.Length];
        Dictionaries = new DictionaryCache(this);
        try
        {
            db = OpenNative(mode);
        }
        catch
        {
            options.Dispose();
            throw;
        }

        readOptions = RocksNative.rocksdb_readoptions_create();
        scanOptions = RocksNative.rocksdb_readoptions_create();
        RocksNative.rocksdb_readoptions_set_fill_cache(scanOptions, 0);
        RocksNative.rocksdb_readoptions_set_readahead_size(scanOptions, 1 << 20);
        syncedWrite = RocksNative.rocksdb_writeoptions_create();
        RocksNative.rocksdb_writeoptions_set_sync(syncedWrite, 1);
        write = RocksNative.rocksdb_writeoptions_create();
    }

    /// <summary>Directory.</summary>
    public string Path { get; }

    /// <summary>Opened with <see cref="RocksMode.ReadOnly"/>.</summary>
    public bool ReadOnly { get; }

    /// <summary>The dictionaries that frames are unpacked with.</summary>
    public DictionaryCache Dictionaries { get; }

    /// <summary>Makes a database, without content, in a directory that has none: one that has is only opened.</summary>
    public static void Create(string path)
    {
        RequireLibrary(); // nobody could open it
        EmptyDatabase.Write(path, Names);
    }

    /// <summary>Puts entries into a database that <see cref="Create"/> has made and nobody has opened so far.</summary>
    /// <param name="path">Directory.</param>
    /// <param name="family">Where to.</param>
    /// <param name="entries">Keys and values.</param>
    public static void PutFirst(string path, ColumnFamily family, IReadOnlyList<(byte[] Key, byte[] Value)> entries) => EmptyDatabase.WriteFirst(path, (int)family, entries);

    /// <summary>Opens a database. Errors are <see cref="EnvironmentException"/>, <see cref="StoreBusyException"/> or <see cref="StoreDamagedException"/>.</summary>
    public static RocksDb Open(string path, RocksMode mode)
    {
        RequireLibrary();
        if (mode != RocksMode.ReadOnly) StoreErrors.Guard(() => SyncLogs(path));
        try
        {
            StoreErrors.Guard(() => WalTails.Check(path));
            return new RocksDb(path, mode);
        }
        catch (StoreDamagedException e)
        {
            // Not "run verify": it could not open it either.
            throw new StoreDamagedException(e.Message, "the database does not open, so nothing of this store can be read: restore its directory from a backup", e);
        }
    }

    private static void RequireLibrary()
    {
        if (!RocksNative.IsPresent)
            throw new EnvironmentException("the RocksDB library librocksdb.so.7.8 is not installed", "apt-get install librocksdb7.8");
    }

    /// <summary>
    /// Makes durable what an earlier writer wrote and, killed, never synced. Opening replays it from the page cache and
    /// leaves it where it is (RocksOptions), and what is committed on top of it is synced in a WAL of its own: a power
    /// cut would take the lower part away from under the upper one. Only the holder of the write lock opens for writing.
    /// </summary>
    private static void SyncLogs(string path)
    {
        if (!Directory.Exists(path)) return;
        foreach (var log in Directory.GetFiles(path, "*.log"))
        {
            using var file = FileCalls.Open(log, OpenFlags.ReadOnly);
            FileCalls.Sync(file, log);
        }

        FileCalls.SyncDirectory(path);
    }

    /// <summary>A value, copied; null if there is none.</summary>
    public byte[]? Get(ColumnFamily family, ReadOnlySpan<byte> key)
    {
        using var value = GetPinned(family, key);
        return value.Exists ? value.Span.ToArray() : null;
    }

    /// <summary>A value in RocksDB's own memory; dispose it before the database.</summary>
    public RocksValue GetPinned(ColumnFamily family, ReadOnlySpan<byte> key)
    {
        ThrowIfClosed();
        fixed (byte* k = key)
        {
            var slice = RocksNative.rocksdb_get_pinned_cf(db, readOptions, Family(family), k, (nuint)key.Length, out var error);
            RocksError.Check(error, Path);
            return new RocksValue(slice);
        }
    }

    /// <summary>
    /// Looks up many keys of one size whose values have one size, in one batch. Values of keys that are missing are left
    /// alone. A value of another size is damage.
    /// </summary>
    /// <param name="family">Column family.</param>
    /// <param name="keys">Keys, one after the other.</param>
    /// <param name="keySize">Bytes of a key.</param>
    /// <param name="values">Room for all values, one after the other.</param>
    /// <param name="valueSize">Bytes of a value.</param>
    /// <param name="found">Set per key.</param>
    public void MultiGet(ColumnFamily family, ReadOnlySpan<byte> keys, int keySize, Span<byte> values, int valueSize, Span<bool> found)
    {
        const int Batch = 128;
        ThrowIfClosed();
        var keyPointers = stackalloc byte*[Batch];
        var keyLengths = stackalloc nuint[Batch];
        var slices = stackalloc nint[Batch];
        var errors = stackalloc nint[Batch];
        for (var i = 0; i < Batch; i++) keyLengths[i] = (nuint)keySize;
        fixed (byte* k = keys)
        {
            for (var start = 0; start < found.Length; start += Batch)
            {
                var count = Math.Min(Batch, found.Length - start);
                for (var i = 0; i < count; i++) keyPointers[i] = k + (long)(start + i) * keySize;
                RocksNative.rocksdb_batched_multi_get_cf(db, readOptions, Family(family), (nuint)count, keyPointers, keyLengths, slices, errors, 0);
                Collect(slices, errors, count, values[(start * valueSize)..], valueSize, found[start..]);
            }
        }
    }

    /// <summary>An iterator over a column family as it is now, which reads far ahead. Closed with the database at the latest.</summary>
    /// <param name="family">Column family.</param>
    public RocksIterator Iterate(ColumnFamily family)
    {
        ThrowIfClosed();
        var iterator = new RocksIterator(this, RocksNative.rocksdb_create_iterator_cf(db, scanOptions, Family(family)));
        lock (gate) iterators.Add(iterator);
        return iterator;
    }

    /// <summary>Writes a batch, atomically; durable when this returns.</summary>
    public void Write(RocksWriteBatch batch) => Write(batch, syncedWrite);

    /// <summary>Writes a batch, atomically. A power cut may take it, and what is written later with it as long as that is not durable either.</summary>
    public void WriteUnsynced(RocksWriteBatch batch) => Write(batch, write);

    private void Write(RocksWriteBatch batch, nint how)
    {
        ThrowIfClosed();
        RocksNative.rocksdb_write(db, how, batch.Handle, out var error);
        RocksError.Check(error, Path);
    }

    /// <summary>A batch for this database.</summary>
    public RocksWriteBatch NewBatch() => new(this);

    /// <summary>Takes finished SST files in, by hard link (same file system); durable when this returns. The files are gone afterwards.</summary>
    public void Ingest(ColumnFamily family, IReadOnlyList<string> files)
    {
        ThrowIfClosed();
        if (files.Count == 0) return;
        var ingestOptions = RocksNative.rocksdb_ingestexternalfileoptions_create();
        var names = new nint[files.Count];
        try
        {
            RocksNative.rocksdb_ingestexternalfileoptions_set_move_files(ingestOptions, 1);
            for (var i = 0; i < names.Length; i++) names[i] = Marshal.StringToCoTaskMemUTF8(files[i]);
            fixed (nint* n = names)
            {
                RocksNative.rocksdb_ingest_external_file_cf(db, Family(family), (byte**)n, (nuint)names.Length, ingestOptions, out var error);
                RocksError.Check(error, Path);
            }
        }
        finally
        {
            foreach (var name in names) Marshal.FreeCoTaskMem(name);
            RocksNative.rocksdb_ingestexternalfileoptions_destroy(ingestOptions);
        }
    }

    /// <summary>Compacts the keys from <paramref name="from"/> up to <paramref name="to"/>, the whole column family if both are empty.</summary>
    /// <param name="family">Column family.</param>
    /// <param name="from">First key.</param>
    /// <param name="to">Key behind.</param>
    /// <param name="rewriteBottom">Rewrite the last level too: gives deleted space back and merges small files.</param>
    public void Compact(ColumnFamily family, ReadOnlySpan<byte> from, ReadOnlySpan<byte> to, bool rewriteBottom)
    {
        ThrowIfClosed();
        const byte Force = 2, IfHaveFilter = 1; // BottommostLevelCompaction of rocksdb/options.h
        var compactOptions = RocksNative.rocksdb_compactoptions_create();
        RocksNative.rocksdb_compactoptions_set_bottommost_level_compaction(compactOptions, rewriteBottom ? Force : IfHaveFilter);
        fixed (byte* f = from, t = to)
            RocksNative.rocksdb_compact_range_cf_opt(db, Family(family), compactOptions, f, (nuint)from.Length, t, (nuint)to.Length);
        RocksNative.rocksdb_compactoptions_destroy(compactOptions);
    }

    /// <summary>Drops the files that lie wholly within the range, at once. Keys in other files stay: delete the range as well.</summary>
    public void DeleteFilesInRange(ColumnFamily family, ReadOnlySpan<byte> from, ReadOnlySpan<byte> to)
    {
        ThrowIfClosed();
        fixed (byte* f = from, t = to)
        {
            RocksNative.rocksdb_delete_file_in_range_cf(db, Family(family), f, (nuint)from.Length, t, (nuint)to.Length, out var error);
            RocksError.Check(error, Path);
        }
    }

    /// <summary>The table files of all column families.</summary>
    public List<RocksFile> LiveFiles()
    {
        ThrowIfClosed();
        var files = RocksNative.rocksdb_livefiles(db);
        var all = new List<RocksFile>();
        for (var i = 0; i < RocksNative.rocksdb_livefiles_count(files); i++)
        {
            var name = Marshal.PtrToStringUTF8((nint)RocksNative.rocksdb_livefiles_column_family_name(files, i));
            var smallest = RocksNative.rocksdb_livefiles_smallestkey(files, i, out var smallestLength);
            var largest = RocksNative.rocksdb_livefiles_largestkey(files, i, out var largestLength);
            all.Add(new RocksFile((ColumnFamily)Array.IndexOf(Names, name), Marshal.PtrToStringUTF8((nint)RocksNative.rocksdb_livefiles_name(files, i))!, RocksNative.rocksdb_livefiles_size(files, i),
                new ReadOnlySpan<byte>(smallest, (int)smallestLength).ToArray(), new ReadOnlySpan<byte>(largest, (int)largestLength).ToArray()));
        }

        RocksNative.rocksdb_livefiles_destroy(files);
        return all;
    }

    /// <summary>Writes the memtable of a column family to a file.</summary>
    public void Flush(ColumnFamily family)
    {
        ThrowIfClosed();
        var flushOptions = RocksNative.rocksdb_flushoptions_create();
        RocksNative.rocksdb_flush_cf(db, flushOptions, Family(family), out var error);
        RocksNative.rocksdb_flushoptions_destroy(flushOptions);
        RocksError.Check(error, Path);
    }

    /// <summary>Lets RocksDB compact a column family on its own, in the background, until the database is closed.</summary>
    public void CompactByItself(ColumnFamily family)
    {
        ThrowIfClosed();
        fixed (byte* key = "disable_auto_compactions"u8, value = "false"u8) // literals end with a zero
        {
            byte* k = key, v = value;
            RocksNative.rocksdb_set_options_cf(db, Family(family), 1, &k, &v, out var error);
            RocksError.Check(error, Path);
        }
    }

    /// <summary>An integer property ("rocksdb.num-files-at-level0" and some others are texts that hold a number).</summary>
    public ulong Property(ColumnFamily family, string name)
    {
        ThrowIfClosed();
        fixed (byte* n = Encoding.UTF8.GetBytes(name + '\0'))
        {
            if (RocksNative.rocksdb_property_int_cf(db, Family(family), n, out var value) == 0) return value;
            var text = RocksNative.rocksdb_property_value_cf(db, Family(family), n);
            if (text == 0) throw new ArgumentException($"no RocksDB property {name}");
            var parsed = ulong.TryParse(Marshal.PtrToStringUTF8(text), out value);
            RocksNative.rocksdb_free(text);
            return parsed ? value : throw new ArgumentException($"RocksDB property {name} is no number");
        }
    }

    /// <summary>Closes everything in order.</summary>
    public void Dispose()
    {
        if (db == 0) return;
        RocksIterator[] open;
        lock (gate) open = [.. iterators];
        foreach (var iterator in open) iterator.Dispose();
        foreach (var family in families) RocksNative.rocksdb_column_family_handle_destroy(family);
        RocksNative.rocksdb_close(db);
        db = 0;
        RocksNative.rocksdb_readoptions_destroy(readOptions);
        RocksNative.rocksdb_readoptions_destroy(scanOptions);
        RocksNative.rocksdb_writeoptions_destroy(syncedWrite);
        RocksNative.rocksdb_writeoptions_destroy(write);
        options.Dispose();
    }

    internal nint Family(ColumnFamily family) => families[(int)family];

    internal void Closed(RocksIterator iterator)
    {
        lock (gate) iterators.Remove(iterator);
    }

    private void Collect(nint* slices, nint* errors, int count, Span<byte> values, int valueSize, Span<bool> found)
    {
        nint failed = 0;
        var wrongSize = false;
        for (var i = 0; i < count; i++)
        {
            found[i] = false;
            if (errors[i] != 0)
            {
                if (failed == 0) failed = errors[i];
                else RocksNative.rocksdb_free(errors[i]);
            }

            if (slices[i] == 0) continue;
            var value = RocksNative.rocksdb_pinnableslice_value(slices[i], out var length);
            if ((int)length == valueSize) new ReadOnlySpan<byte>(value, valueSize).CopyTo(values[(i * valueSize)..]);
            else wrongSize = true;
            found[i] = true;
            RocksNative.rocksdb_pinnableslice_destroy(slices[i]);
        }

        RocksError.Check(failed, Path);
        if (wrongSize) throw new StoreDamagedException($"{Path}: a value has another size than {valueSize} bytes");
    }

    private nint OpenNative(RocksMode mode)
    {
        var cfOptions = new nint[Names.Length];
        var names = new nint[Names.Length];
        var path = Marshal.StringToCoTaskMemUTF8(Path);
        try
        {
            for (var i = 0; i < Names.Length; i++)
            {
                cfOptions[i] = options.Of((ColumnFamily)i);
                names[i] = Marshal.StringToCoTaskMemUTF8(Names[i]);
            }

            fixed (nint* o = cfOptions, n = names, h = families)
            {
                nint error;
                var opened = mode == RocksMode.ReadOnly
                    ? RocksNative.rocksdb_open_for_read_only_column_families(options.Database, (byte*)path, Names.Length, (byte**)n, o, h, 0, out error)
                    : RocksNative.rocksdb_open_column_families(options.Database, (byte*)path, Names.Length, (byte**)n, o, h, out error);
                RocksError.Check(error, Path);
                return opened;
            }
        }
        finally
        {
            foreach (var name in names) Marshal.FreeCoTaskMem(name);
            Marshal.FreeCoTaskMem(path);
        }
    }

    private void ThrowIfClosed() => ObjectDisposedException.ThrowIf(db == 0, this);
}
