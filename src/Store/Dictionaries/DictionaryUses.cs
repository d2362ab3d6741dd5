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

    /// <summary>Deletes the dictionaries that no frame can need any more. The caller holds the write lock.</summary>
    /// <param name="db">The store.</param>
    /// <param name="unreadable">Told of one that can't be read: it stays.</param>
    /// <returns>How many.</returns>
    public static int Sweep(RocksDb db, Action<DictionaryId, StoreDamagedException> unreadable)
    {
        var swept = 0;
        Span<byte> first = stackalloc byte[Keys.FrameSize];
        Span<byte> behind = stackalloc byte[Keys.FrameSize];
        using var batch = db.NewBatch();
        using var i = db.Iterate(ColumnFamily.Dictionaries);
        var last = StoreMeta.Read(db, StoreMeta.Dictionaries);
        for (ulong number = 1; number <= last; number++)
        {
            var id = new DictionaryId(number);
            Keys.DictionaryPiece(id, 0, first);
            try
            {
                // Past the pieces, which are large: that the first one is there, and the uses, tell.
                if (!i.Seek(first) || Keys.DictionaryOf(i.Key).Id != id || IsNeeded(db, i, id, batch)) continue;
                Keys.DictionaryPiece(new DictionaryId(number + 1), 0, behind);
                batch.DeleteRange(ColumnFamily.Dictionaries, first, behind);
                swept++;
            }
            catch (StoreDamagedException damage)
            {
                unreadable(id, damage);
            }
        }

        if (batch.Count > 0) db.Write(batch);
        return swept;
    }

    /// <summary>Goes through its uses; deletes those that are over.</summary>
    private static bool IsNeeded(RocksDb db, RocksIterator i, DictionaryId id, RocksWriteBatch batch)
    {
        Span<byte> use = stackalloc byte[Keys.DictionaryUseSize];
        Keys.DictionaryUse(id, default, use);
        var needed = false;
        for (var there = i.Seek(use); there; there = i.Next())
        {
            var (of, user) = Keys.DictionaryOf(i.Key);
            if (of != id) break;
            if (user is { } crid && !HasFrames(db, crid)) batch.Delete(ColumnFamily.Dictionaries, i.Key);
            else needed = true;
        }

        return needed;
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
