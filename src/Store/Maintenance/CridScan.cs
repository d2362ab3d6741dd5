using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Maintenance;

/// <summary>Which CRIDs have records in a column family whose keys begin with one; beside damaged blocks.</summary>
internal static class CridScan
{
    /// <summary>In ascending order.</summary>
    /// <param name="db">The store.</param>
    /// <param name="family">Chunks, Patches or Maps.</param>
    /// <param name="unreadable">Told of a CRID whose first record would be in a block that can't be read: it is passed over, whether it has any or not.</param>
    public static IEnumerable<Crid> Of(RocksDb db, ColumnFamily family, Action<Crid, StoreDamagedException> unreadable)
    {
        var highest = StoreMeta.Read(db, StoreMeta.HighestCrid);
        using var i = db.Iterate(family);
        for (var next = default(Crid); ; next = new Crid(next.Value + 1))
        {
            StoreDamagedException? damage = null;
            try
            {
                if (!i.Seek(Keys.Crid(next))) yield break;
            }
            catch (StoreDamagedException e)
            {
                damage = e;
            }

            if (damage is null)
            {
                next = Keys.CridOf(i.Key);
                yield return next;
            }
            else
            {
                unreadable(next, damage);
                if (next.Value > highest) yield break; // what it could tell is known
            }

            if (next.Value == ulong.MaxValue) yield break;
        }
    }

    /// <summary>Goes through a CRID's records; ends where they can't be read.</summary>
    /// <param name="db">The store.</param>
    /// <param name="family">Chunks or Patches.</param>
    /// <param name="crid">Whose.</param>
    /// <param name="each">Told of each; the iterator is on it.</param>
    /// <returns>What ended it; null if all were there.</returns>
    public static StoreDamagedException? Records(RocksDb db, ColumnFamily family, Crid crid, Action<RocksIterator> each)
    {
        using var i = db.Iterate(family);
        try
        {
            for (var there = i.Seek(Keys.Crid(crid)); there && Keys.CridOf(i.Key) == crid; there = i.Next()) each(i);
            return null;
        }
        catch (StoreDamagedException e)
        {
            return e;
        }
    }
}
