using Crstore.Model;
using Crstore.Store.Native;
using Crstore.Store.Reading;

namespace Crstore.Store.Layout;

/// <summary>The highest CRID that left any trace in a store, for a counter that was lost.</summary>
internal static class HighestCrid
{
    /// <summary>Looks everywhere.</summary>
    public static Crid Find(StorePaths paths)
    {
        var highest = Crid.None;
        var pending = Directory.Exists(paths.Pending) ? Directory.GetFiles(paths.Pending) : [];
        foreach (var path in Directory.GetFiles(paths.Sessions).Concat(Directory.GetFiles(paths.Incoming)).Concat(pending))
        {
            var name = Path.GetFileName(path);
            if (name.StartsWith("new-", StringComparison.Ordinal)) name = name[4..];
            if (Crid.TryParse(name, out var crid) || (crid = StorePaths.OwnerOf(name)).IsSome) highest = Max(highest, crid);
        }

        using var db = Snapshot.Open(paths);
        highest = Max(highest, new Crid(StoreMeta.Read(db, StoreMeta.HighestCrid)));
        foreach (var family in new[] { ColumnFamily.Manifests, ColumnFamily.Bodies, ColumnFamily.Chunks, ColumnFamily.Patches, ColumnFamily.Maps })
        {
            using var i = db.Iterate(family);
            if (i.SeekToLast()) highest = Max(highest, Keys.CridOf(i.Key));
        }

        return highest;
    }

    private static Crid Max(Crid x, Crid y) => x.CompareTo(y) >= 0 ? x : y;
}
