using System.Diagnostics;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Store.Reading;

namespace Crstore.Store;

/// <summary>A store open for writing: its write lock, and RocksDB. Ends with both, unless a <see cref="StoreKeeper"/> keeps them for the next time.</summary>
internal sealed class WriteAccess : IDisposable
{
    private readonly StorePaths paths;
    private readonly WriteLock held;
    private readonly StoreKeeper? keeper;
    private readonly FileStatus directory;
    private ChunkLookup? chunks;
    private bool done;

    private WriteAccess(StorePaths paths, WriteLock held, RocksDb database, StoreKeeper? keeper)
    {
        (this.paths, this.held, Database, this.keeper) = (paths, held, database, keeper);
        directory = FileStatus.Of(paths.Database);
    }

    /// <summary>Open for writing.</summary>
    public RocksDb Database { get; }

    /// <summary>What is known of its chunks. Nobody else changes them meanwhile.</summary>
    public ChunkLookup Chunks => chunks ??= new ChunkLookup(Database);

    /// <summary>Since when.</summary>
    public long OpenedAt { get; } = Stopwatch.GetTimestamp();

    /// <summary>The store is still where others would look for it: what is written is not gone with a directory that somebody has removed.</summary>
    public bool IsInPlace => held.IsInPlace(paths) && FileStatus.TryOf(paths.Database, out var now) == 0 && (now.Dev, now.Inode) == (directory.Dev, directory.Inode);

    /// <summary>Takes the lock and opens, or goes on with what the keeper has.</summary>
    /// <param name="store">Which.</param>
    /// <param name="verb">What for, for those who wait.</param>
    /// <param name="toFree">To free space: the reserve may be used up.</param>
    /// <exception cref="StoreBusyException">The lock could not be had in time.</exception>
    public static WriteAccess Take(CheckpointStore store, string verb, bool toFree) => Take(store, verb, toFree, store.Options.Cancel, locked: null);

    /// <summary>The same.</summary>
    /// <param name="store">Which.</param>
    /// <param name="verb">What for, for those who wait.</param>
    /// <param name="toFree">To free space: the reserve may be used up.</param>
    /// <param name="cancel">Ends the waiting.</param>
    /// <param name="locked">Called with the lock just taken.</param>
    public static WriteAccess Take(CheckpointStore store, string verb, bool toFree, CancellationToken cancel, Action? locked)
    {
        if (store.Keeper?.Use() is { } kept)
        {
            try
            {
                DiskRoom.EnsureOpen(store.Paths, toFree);
                return kept;
            }
            catch
            {
                kept.Dispose();
                throw;
            }
        }

        var held = WriteLock.Take(store.Paths, verb, store.Options with { Cancel = cancel }, store.Keeper?.Bell);
        RocksDb? database = null;
        try
        {
            locked?.Invoke();
            DiskRoom.Ensure(store.Paths, toFree);
            database = RocksDb.Open(store.Paths.Database, RocksMode.ReadWrite);
            return new WriteAccess(store.Paths, held, database, store.Keeper);
        }
        catch
        {
            database?.Dispose();
            held.Dispose();
            throw;
        }
    }

    /// <summary>It is used anew.</summary>
    public WriteAccess Again()
    {
        done = false;
        return this;
    }

    /// <summary>What was to be written is written: it may stay open. After anything else it may not.</summary>
    public void Done() => done = true;

    /// <summary>Gives it back to the keeper, or closes.</summary>
    public void Dispose()
    {
        if (keeper?.TryKeep(this, done) != true) Close();
    }

    /// <summary>Closes.</summary>
    public void Close()
    {
        Database.Dispose();
        held.Dispose();
    }
}
