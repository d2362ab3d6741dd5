using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Store.Layout;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.InMemory;

/// <summary>
/// Where the memory store of a store lies: ROOT/crstore-UID/STOREID on a tmpfs, /dev/shm if nothing else is said. Everybody may write to that, so
/// ROOT/crstore-UID must be a directory of ours that nobody else may look into; then what is in it is ours, too.
/// </summary>
internal sealed class MemoryPlace
{
    /// <summary>World-writable, sticky, and in memory: shm_overview(7).</summary>
    public const string DefaultRoot = "/dev/shm";

    private const uint Sticky = 0x200, WritableByOthers = 0x12, ForOthers = 0x3f; // inode(7)
    private readonly string root;
    private readonly string own;
    private readonly bool mayBeDisk;

    public MemoryPlace(StoreOptions options, Guid storeId)
    {
        root = options.MemoryRoot ?? DefaultRoot;
        mayBeDisk = options.MemoryMayBeDisk;
        own = Path.Combine(root, string.Create(CultureInfo.InvariantCulture, $"crstore-{ThisProcess.EffectiveUser()}"));
        Store = Path.Combine(own, storeId.ToString());
    }

    /// <summary>The memory store's directory.</summary>
    public string Store { get; }

    /// <summary>What is being removed: nobody looks there any more.</summary>
    public string Gone => Store + ".gone";

    private string UseLock => Store + ".lock";

    /// <summary>There is something, and it is ours. Says why it isn't.</summary>
    /// <param name="problem">Told that somebody else has put something in its place.</param>
    public bool Exists(Action<string>? problem = null)
    {
        if (FileStatus.TryOfLink(own, out var status) == Errno.ENOENT) return false;
        if (Refusal(status) is { } why)
        {
            problem?.Invoke($"checkpoints in memory are not looked at: {own} {why}");
            return false;
        }

        return File.Exists(Path.Combine(Store, "format"));
    }

    /// <summary>Makes the directory above the store's.</summary>
    /// <exception cref="EnvironmentException">It is no place for secrets, or none in memory.</exception>
    public void Make() => StoreErrors.Guard(() =>
    {
        if (FileStatus.TryOf(root, out var above) != 0 || !above.IsDirectory)
            throw new EnvironmentException($"{root} is no directory: nothing can be kept in memory", "mount a tmpfs there, or name another one with CRSTORE_MEMORY");
        if (!mayBeDisk && RawFile.FileSystemType(root) != RawFile.TmpfsMagic)
            throw new EnvironmentException($"{root} is not on a tmpfs: what is kept there is not kept in memory", "mount a tmpfs there, or name another one with CRSTORE_MEMORY");
        var others = (above.Mode & WritableByOthers) != 0 && (above.Mode & Sticky) == 0;
        if (others || (above.Uid != 0 && above.Uid != ThisProcess.EffectiveUser()))
            throw new EnvironmentException($"{root} may be changed by others: memory of processes is not kept there", "name another tmpfs with CRSTORE_MEMORY");
        FileCalls.MakeDirectory(own);
        _ = FileStatus.TryOfLink(own, out var status);
        if (Refusal(status) is { } why) throw new EnvironmentException($"{own} {why}: memory of processes is not kept there", "remove it, or name another tmpfs with CRSTORE_MEMORY");
    });

    /// <summary>
    /// Held shared by whoever uses the store for more than a look, and by none who removes it. The file stays: a lock whose file may be removed is none.
    /// </summary>
    public SafeFileHandle Use(StoreOptions options) => StoreErrors.Guard(() =>
    {
        var file = FileCalls.Open(UseLock, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.NoFollow);
        try
        {
            new LockWait(options.LockTimeout) { Waiting = options.Waiting, Cancel = options.Cancel }
                .Until(() => FileCalls.TryLock(file, shared: true, UseLock), static () => "another crstore, which removes it", $"the memory store {Store}");
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    });

    /// <summary>Nobody else uses it, and none will before the handle is closed; if somebody does, the handle holds nothing any more.</summary>
    public bool TryAlone(SafeFileHandle use) => FileCalls.TryLock(use, shared: false, UseLock);

    /// <summary>Removes the store, and what a removal that was killed has left. Alone.</summary>
    public void Remove()
    {
        RemoveGone();
        if (!Directory.Exists(Store)) return;
        FileCalls.Rename(Store, Gone); // whoever looks finds all of it or nothing
        FaultPoint.Hit("memory.renamed");
        RemoveGone();
    }

    private void RemoveGone()
    {
        if (Directory.Exists(Gone)) Directory.Delete(Gone, recursive: true);
    }

    /// <summary>What is free of the tmpfs.</summary>
    public ulong FreeBytes => FileCalls.FileSystem(own).FreeBytes;

    private static string? Refusal(FileStatus status)
    {
        if (!status.IsDirectory) return "is no directory";
        if (status.Uid != ThisProcess.EffectiveUser()) return string.Create(CultureInfo.InvariantCulture, $"belongs to uid {status.Uid}");
        return (status.Mode & ForOthers) != 0 ? $"may be used by others (mode {Convert.ToString(status.Mode & 0xfff, 8)})" : null;
    }
}
