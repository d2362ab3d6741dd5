using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Layout;

/// <summary>
/// Makes a store directory. The format file comes last, so a directory without it is half-written: the next creation
/// goes on with it, and nobody else takes it for a store. Nothing is ever deleted in it.
/// </summary>
internal static class StoreCreation
{
    /// <summary>The format file of an existing store.</summary>
    /// <exception cref="UsageException">There is no store.</exception>
    /// <exception cref="EnvironmentException">It is half-written, or of a newer format.</exception>
    public static FormatFile Check(StorePaths paths)
    {
        if (FormatFile.Read(paths) is { } format) return format;
        switch (Look(paths))
        {
            case Content.Ours:
                throw new EnvironmentException($"{paths.Root} is a half-written store: its creation was cut short",
                    "the next `crstore capture` into it completes it");
            case Content.Foreign:
                throw new UsageException($"{paths.Root} is not a crstore store: it holds other files", "name another directory with --store");
            default:
                throw new UsageException($"there is no store in {paths.Root}", "the first `crstore capture` makes it; --store DIR or CRSTORE_STORE names another one");
        }
    }

    /// <summary>Makes the store, or completes one.</summary>
    public static FormatFile Create(StorePaths paths, StoreOptions options) => StoreErrors.Guard(() =>
    {
        MakeParents(paths.Root);
        if (Look(paths) == Content.Foreign)
            throw new UsageException($"{paths.Root} is not a crstore store and not empty: it holds other files", "name an empty or new directory with --store");
        using (WriteLock.Take(paths, "creation of the store", options))
        {
            if (FormatFile.Read(paths) is { } other) return other; // somebody else was faster
            foreach (var directory in new[] { paths.Sessions, paths.SeriesLocks, paths.Incoming, paths.Database }) FileCalls.MakeDirectory(directory);
            FaultPoint.Hit("create.directories");
            if (!Directory.EnumerateFileSystemEntries(paths.Database).Any())
            {
                CridCounter.Create(paths, highestInStore: null); // first, so that a database without a counter is one that has lost it
                FileCalls.SyncDirectory(paths.Root);
            }

            var id = MakeDatabase(paths);
            CridCounter.Create(paths, () => HighestCrid.Find(paths));
            FileCalls.SyncDirectory(paths.Root);
            FaultPoint.Hit("create.database");
            var format = new FormatFile(FormatFile.CurrentVersion, id);
            format.Write(paths);
            return format;
        }
    });

    private enum Content { Nothing, Ours, Foreign }

    private static Content Look(StorePaths paths)
    {
        try
        {
            var names = Directory.EnumerateFileSystemEntries(paths.Root).Select(Path.GetFileName)
                .Where(n => n != "lost+found").ToList(); // a file system of its own has it at its root
            return names.Count == 0 ? Content.Nothing : names.TrueForAll(n => StorePaths.KnownNames.Contains(n!)) ? Content.Ours : Content.Foreign;
        }
        catch (DirectoryNotFoundException)
        {
            return Content.Nothing;
        }
        catch (UnauthorizedAccessException e)
        {
            throw new EnvironmentException($"{paths.Root}: {e.Message}", "use the store as the user who owns it, or another one with --store", e);
        }
    }

    /// <summary>The store id that the database holds, so that a format file lost later can be made again with the same id.</summary>
    private static Guid MakeDatabase(StorePaths paths)
    {
        var isThere = File.Exists(Path.Combine(paths.Database, "CURRENT"));
        // RocksDB would remove tables that a new database doesn't know as obsolete, and take what is in the logs for all that there ever was.
        if (!isThere && Directory.EnumerateFiles(paths.Database).Any(f => Path.GetExtension(f) is ".sst" or ".log"))
            throw new StoreDamagedException($"{paths.Database} has tables or logs but no file CURRENT", "restore the rest of the backup, or name another directory with --store");
        DiskRoom.Ensure(paths, toFree: false);
        var id = Guid.NewGuid();
        if (!isThere)
        {
            // Without RocksDB: opening takes it ten syncs, one behind the other, and the first commit does it again.
            RocksDb.Create(paths.Database);
            FaultPoint.Hit("create.empty");
            RocksDb.PutFirst(paths.Database, ColumnFamily.Meta, StoreMeta.StoreIdEntries(id));
            return id;
        }

        using var db = RocksDb.Open(paths.Database, RocksMode.Complete);
        if (StoreMeta.StoreId(db) is { } known) return known;
        using var batch = db.NewBatch();
        foreach (var (key, value) in StoreMeta.StoreIdEntries(id)) batch.Put(ColumnFamily.Meta, key, value);
        db.Write(batch);
        return id;
    }

    private static void MakeParents(string path)
    {
        if (Directory.Exists(path)) return;
        if (Path.GetDirectoryName(path) is { Length: > 0 } parent) MakeParents(parent);
        if (FileCalls.MakeDirectory(path) && Path.GetDirectoryName(path) is { Length: > 0 } above) FileCalls.SyncDirectory(above);
    }
}
