using Crstore.Linux.Files;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.Layout;

/// <summary>
/// An flock(2) on a file of the store that says who holds it (<see cref="LockWait"/>).
/// </summary>
internal sealed class HeldLock : IDisposable
{
    private readonly SafeFileHandle file;

    private HeldLock(SafeFileHandle file) => this.file = file;

    /// <summary>Takes the lock, waiting for the present holder if need be.</summary>
    /// <param name="path">Lock file, made if missing.</param>
    /// <param name="verb">What the holder does, for those who wait.</param>
    /// <param name="what">What is locked, for the message of the one who gives up.</param>
    /// <param name="timeout">How long to wait.</param>
    /// <param name="waiting">Told once if it must wait.</param>
    /// <param name="cancel">Ends the waiting.</param>
    /// <exception cref="StoreBusyException">Not free in time; names the holder.</exception>
    public static HeldLock Take(string path, string verb, string what, TimeSpan timeout, Action<string>? waiting, CancellationToken cancel = default) => StoreErrors.Guard(() =>
    {
        var file = FileCalls.Open(path, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.NoFollow);
        try
        {
            new LockWait(timeout) { Waiting = waiting, Cancel = cancel }.Until(() => FileCalls.TryLock(file, shared: false, path), () => LockWait.HolderOf(file, path), what);
            LockWait.WriteHolder(file, path, verb);
            return new HeldLock(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    });

    /// <summary>Takes a shared lock on an existing file without waiting; null if somebody holds it exclusively. Needs no write access.</summary>
    public static HeldLock? TryShared(string path)
    {
        var file = FileCalls.Open(path, OpenFlags.ReadOnly | OpenFlags.NoFollow);
        if (FileCalls.TryLock(file, shared: true, path)) return new HeldLock(file);
        file.Dispose();
        return null;
    }

    /// <summary>Releases.</summary>
    public void Dispose() => file.Dispose();
}
