using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Tests.Store.Stores;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>Changes a store behind crstore's back.</summary>
internal static class StoreSurgery
{
    public static T Open<T>(TempStore temp, Func<RocksDb, T> work)
    {
        using var db = RocksDb.Open(new StorePaths(temp.Directory).Database, RocksMode.ReadWrite);
        return work(db);
    }

    public static void Edit(TempStore temp, Action<RocksWriteBatch, RocksDb> edit) => Open(temp, db =>
    {
        using var batch = db.NewBatch();
        edit(batch, db);
        db.Write(batch);
        return true;
    });

    public static byte[] Frame(RocksDb db, FrameId id) => db.Get(ColumnFamily.Chunks, Key(id))!;

    public static byte[] Key(FrameId id)
    {
        var key = new byte[Keys.FrameSize];
        Keys.Frame(id, key);
        return key;
    }

    public static List<byte[]> AllKeys(TempStore temp, ColumnFamily family) => Open(temp, db =>
    {
        var keys = new List<byte[]>();
        using var i = db.Iterate(family);
        for (var there = i.SeekToFirst(); there; there = i.Next()) keys.Add(i.Key.ToArray());
        return keys;
    });

    /// <summary>True as long as any chunk can be found by its content.</summary>
    public static bool HasIndex(TempStore temp)
    {
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var i = reader.Database.Iterate(ColumnFamily.Index);
        return i.SeekToFirst();
    }

    public static byte[] GroupKey(PatchGroupId id)
    {
        var key = new byte[Keys.FrameSize];
        Keys.PatchGroup(id, key);
        return key;
    }

    /// <summary>Changes a bit of a record in its table, so that RocksDB itself can't read the block any more. Only where captures make tables.</summary>
    public static void SpoilBlock(TempStore temp, ColumnFamily family, byte[] key)
    {
        var value = Open(temp, db => db.Get(family, key)!);
        foreach (var table in Directory.GetFiles(new StorePaths(temp.Directory).Database, "*.sst"))
        {
            var bytes = File.ReadAllBytes(table);
            var at = bytes.AsSpan().IndexOf(value);
            if (at < 0) continue;
            bytes[at + value.Length / 2] ^= 1;
            File.WriteAllBytes(table, bytes);
            return;
        }

        throw new InvalidOperationException("it is in no table");
    }

    /// <summary>A whole frame with one slot's page changed: right checksum, wrong content.</summary>
    public static void SpoilPage(TempStore temp, ChunkLocation chunk) => Edit(temp, (batch, db) =>
    {
        var id = FrameId.Of(chunk);
        var old = FrameReader.Parse(id, Frame(db, id));
        var pages = new byte[old.Slots * VirtualPage.Size];
        old.ReadAll(pages);
        pages[chunk.Slot * VirtualPage.Size + 100] ^= 1;
        var hashes = Enumerable.Range(0, old.Slots).Select(old.Hash).ToArray();
        batch.Put(ColumnFamily.Chunks, Key(id), FrameEncoder.Encode(id, hashes, pages, Compression.Default));
    });
}
