using Crstore.Linux;
using Crstore.Linux.Files;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.Layout;

/// <summary>
/// Tells who keeps the write lock that somebody waits for it: inotify(7) on the file `turn`, which who waits opens once it is its turn (IN_OPEN). That
/// needs no disk space and no process that must be known, and who dies leaves nothing.
/// </summary>
internal sealed class TurnBell : IDisposable
{
    private const uint Opened = 0x20; // IN_OPEN

    private TurnBell(SafeFileHandle handle) => Handle = handle;

    /// <summary>Readable (poll(2)) as soon as somebody has knocked.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Somebody has knocked.</summary>
    public bool HasRung => InotifyCalls.Readable(Handle) > 0;

    /// <summary>One that hears all knocks from now on; null if there are no more inotify instances to be had.</summary>
    public static TurnBell? TryHang(StorePaths paths) => StoreErrors.Guard(() =>
    {
        using var turn = FileCalls.Open(paths.Turn, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.NoFollow);
        SafeFileHandle? inotify = null;
        try
        {
            inotify = InotifyCalls.Create();
            InotifyCalls.AddWatch(inotify, turn, Opened);
            return new TurnBell(inotify);
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.EMFILE or Errno.ENFILE or Errno.ENOSPC or Errno.ENOSYS)
        {
            inotify?.Dispose();
            return null;
        }
    });

    /// <summary>By who has the turn and waits, or a reader who finds no quiet moment. Needs no write access.</summary>
    public static void Knock(StorePaths paths) => FileCalls.Open(paths.Turn, OpenFlags.ReadOnly | OpenFlags.NoFollow).Dispose();

    /// <summary>What has rung so far doesn't count.</summary>
    public void Forget() => InotifyCalls.DropEvents(Handle);

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();
}
