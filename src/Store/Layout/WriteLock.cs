using Crstore.Linux.Files;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.Layout;

/// <summary>
/// The write lock of a store. Who wants it takes a turn first, a lock that it holds until it has this one: so nobody who gives it up and takes it
/// again at once gets it before one that waits, however seldom that one tries. Who has its turn and finds the lock taken knocks (<see cref="TurnBell"/>).
/// No other lock of the store or of a target may be waited for with this one held: whoever has those may be waiting for this one.
/// </summary>
internal sealed class WriteLock : IDisposable
{
    private readonly SafeFileHandle file;

    private WriteLock(SafeFileHandle file) => this.file = file;

    /// <summary>Takes it, waiting for the present holder if need be.</summary>
    /// <param name="paths">Store.</param>
    /// <param name="verb">What the holder does, for those who wait.</param>
    /// <param name="options">How to wait.</param>
    /// <param name="bell">Of one who hears knocks: not its own, nor those of before.</param>
    /// <exception cref="Model.StoreBusyException">Not free in time; names the holder.</exception>
    public static WriteLock Take(StorePaths paths, string verb, StoreOptions options, TurnBell? bell = null) => StoreErrors.Guard(() =>
    {
        var file = FileCalls.Open(paths.WriteLock, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.NoFollow);
        try
        {
            using var turn = FileCalls.Open(paths.Turn, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.NoFollow);
            var next = false;
            new LockWait(options.LockTimeout) { Waiting = options.Waiting, Cancel = options.Cancel }
                .Until(TryTake, () => LockWait.HolderOf(file, paths.WriteLock), $"the store {paths.Root}");
            bell?.Forget(); // behind this nobody can have knocked before the turn is given on
            LockWait.WriteHolder(file, paths.WriteLock, verb);
            return new WriteLock(file);

            bool TryTake()
            {
                var first = !next && (next = FileCalls.TryLock(turn, shared: false, paths.Turn));
                if (!next) return false;
                if (FileCalls.TryLock(file, shared: false, paths.WriteLock)) return true;
                if (first) TurnBell.Knock(paths);
                return false;
            }
        }
        catch
        {
            file.Dispose();
            throw;
        }
    });

    /// <summary>It is still the one that others would take: the store was neither removed nor moved away.</summary>
    public bool IsInPlace(StorePaths paths) =>
        FileStatus.TryOf(paths.WriteLock, out var now) == 0 && FileStatus.Of(file) is var held && (now.Dev, now.Inode) == (held.Dev, held.Inode);

    /// <summary>Releases.</summary>
    public void Dispose() => file.Dispose();
}
