using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Writing;

/// <summary>
/// What a capture adds to the index: its fresh chunks, by their content. Much of it is sorted into SSTs beside everything else, before the commit, and
/// ingested behind that; little goes into the commit's batch.
/// </summary>
internal sealed class FreshIndex(NewCheckpoint checkpoint, ChunkSink sink) : IDisposable
{
    private const int FileKeys = 1 << 16; // below, a second file isn't worth its place in level 0
    private readonly StoreOptions options = checkpoint.Store.Options;
    private readonly List<string> files = [];
    private Task<ulong>? building;

    /// <summary>When all pages are hashed: begins to sort.</summary>
    public void Begin() => building = Task.Run(BuildFiles);

    /// <summary>Waits until it is complete.</summary>
    /// <returns>Bytes in files of its own.</returns>
    public ulong Complete() => building!.GetAwaiter().GetResult();

    /// <summary>Waits for the end of what was begun, whichever it is: its files may be removed.</summary>
    public void AwaitEnd() => Task.WaitAny(building!);

    /// <summary>After <see cref="Complete"/>, with the commit's batch: the index itself, or that it is owed.</summary>
    public void Put(RocksDb db, RocksWriteBatch batch)
    {
        if (files.Count == 0) PutKeys(batch);
        else StoreMeta.Put(batch, StoreMeta.IndexOwed, StoreMeta.Read(db, StoreMeta.IndexOwed) + 1);
    }

    /// <summary>
    /// A large index update follows the commit: an entry must never be there without what it points to. Until it is in, its pages are
    /// only stored a second time. That it is owed is part of the commit: the next gc makes up for it.
    /// </summary>
    /// <returns>It is in.</returns>
    public bool Ingest(RocksDb db)
    {
        if (files.Count == 0) return true;
        try
        {
            db.Ingest(ColumnFamily.Index, files);
            using var batch = db.NewBatch();
            StoreMeta.Put(batch, StoreMeta.IndexOwed, StoreMeta.Read(db, StoreMeta.IndexOwed) - 1); // others' debts stay
            db.WriteUnsynced(batch); // a power cut that takes it costs the next gc a look at everything
            return true;
        }
        catch (Exception e) when (e is CrstoreException or IOException)
        {
            options.Warning?.Invoke($"CRID {checkpoint.Crid} is committed, but its pages can't be found by their content before the next gc: {e.Message}");
            return false;
        }
    }

    /// <summary>Removes its files.</summary>
    /// <exception cref="Linux.LinuxException">They could not be removed.</exception>
    public void Dispose()
    {
        foreach (var file in files) FileCalls.Unlink(file);
    }

    private ulong BuildFiles()
    {
        if (sink.Fresh.Count <= options.SmallCapturePages) return 0;
        sink.Fresh.CloseTable();
        var count = Math.Clamp((int)(sink.Fresh.Count / FileKeys), 1, Environment.ProcessorCount);
        count = Math.Max(count, (int)((sink.Fresh.Count + options.IndexFileEntries - 1) / options.IndexFileEntries));
        var bytes = 0UL;
        AllCores.For(0, count, i => Interlocked.Add(ref bytes, BuildFile(checkpoint.Store.Paths.IncomingFile(checkpoint.Own, "index", i), sink.Fresh.Sorted(i, count))));
        return bytes;
    }

    private ulong BuildFile(string path, SortedChunks chunks)
    {
        if (chunks.Count == 0) return 0; // a table file without a key is none
        lock (files) files.Add(path);
        using var writer = new RocksSstWriter(path, ColumnFamily.Index);
        Span<byte> key = stackalloc byte[ContentHash.Size];
        Span<byte> value = stackalloc byte[Keys.LocationSize];
        for (var i = 0; i < chunks.Count; i++)
        {
            chunks.HashAt(i).Write(key);
            Keys.Location(sink.LocationOf(chunks.NumberAt(i)), value);
            writer.Put(key, value);
        }

        writer.Finish();
        return writer.BytesPut;
    }

    private void PutKeys(RocksWriteBatch batch)
    {
        Span<byte> key = stackalloc byte[ContentHash.Size];
        Span<byte> value = stackalloc byte[Keys.LocationSize];
        for (uint sequence = 0; sequence < sink.Fresh.Count; sequence++)
        {
            sink.Fresh[sequence].Write(key);
            Keys.Location(sink.LocationOf(sequence), value);
            batch.Put(ColumnFamily.Index, key, value);
        }
    }
}
