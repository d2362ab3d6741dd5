using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Dictionaries;

/// <summary>
/// Which CRIDs have, or had, frames that need a dictionary: a record without content each, put in the batch that puts the frames. A dictionary goes when no CRID that
/// may need it has any frame left: coarse, but nothing has to be read for it, and it can only err by keeping.
/// </summary>
internal static class DictionaryUses
{
    /// <summary>Notes that frames of a CRID need a dictionary.</summary>
    public static void Put(RocksWriteBatch batch, DictionaryId id, Crid user)
    {
        Span<byte> key = stackalloc byte[Keys.DictionaryUseSize];
        Keys.DictionaryUse(id, user, key);
        batch.Put(ColumnFamily.Dictionaries, key, []);
    }

    /// <summary>True if the dictionary is in the store. One without its first piece is damaged, and is not to be used again.</summary>
    public static bool IsThere(RocksDb db, DictionaryId id)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.DictionaryPiece(id, 0, key);
        using var value = db.GetPinned(ColumnFamily.Dictionaries, key);
        return value.Exists;
    }

    /// <summary>Deletes the dictionaries that no frame can need any more. The caller holds the write lock.</summary>
    /// <returns>How many.</returns>
    public static int Sweep(RocksDb db)
    {
        var users = new Dictionary<DictionaryId, int>();
        var all = new List<(byte[] Key, DictionaryId Id, Crid? User)>();
        using (var i = db.Iterate(ColumnFamily.Dictionaries))
            for (var there = i.SeekToFirst(); there; there = i.Next())
            {
                var (id, user) = Keys.DictionaryOf(i.Key);
                all.Add((i.Key.ToArray(), id, user));
                users.TryAdd(id, 0);
            }

        using var batch = db.NewBatch();
        foreach (var (key, id, user) in all)
        {
            if (user is not { } crid) continue;
            if (HasFrames(db, crid)) users[id]++;
            else batch.Delete(ColumnFamily.Dictionaries, key);
        }

        foreach (var (key, id, user) in all)
            if (user is null && users[id] == 0) batch.Delete(ColumnFamily.Dictionaries, key);
        if (batch.Count > 0) db.Write(batch);
        return users.Values.Count(u => u == 0);
    }

    private static bool HasFrames(RocksDb db, Crid crid)
    {
        try
        {
            using var i = db.Iterate(ColumnFamily.Chunks);
            return i.Seek(Keys.Crid(crid)) && Keys.CridOf(i.Key) == crid;
        }
        catch (StoreDamagedException)
        {
            return true; // it may have some
        }
    }
}
