using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Maintenance;

namespace Crstore.Store.Layout;

/// <summary>
/// Room on the disk to open the database for writing. RocksDB then begins a log, a manifest and a file of options, and where there is no room
/// for them Debian's build, which has its asserts on, aborts the process: so it is tried before, with a file of that size.
/// A full disk must not keep anybody from freeing space either: a store has a reserve, which forget and gc give up when they find no other room.
/// The caller holds the write lock.
/// </summary>
internal static class DiskRoom
{
    /// <summary>What opening takes (about 250 KiB), what it writes of the files there are, and a small write.</summary>
    private const long ToOpen = 1 << 20;

    /// <summary>The smallest and the largest reserve: enough to open, to forget, and for gc to drop the index entries of some 26000 pages or 60000, about 45 bytes each.</summary>
    private const long LeastReserve = 2 << 20, MostReserve = 4 << 20;

    /// <summary>Between them: that part of the store, as the more is in it, the more is dead at once.</summary>
    private const int ReserveShare = 128;

    /// <summary>A reserve is made only where it is a small part of what is free.</summary>
    private const ulong Plenty = 16 * MostReserve;

    /// <summary>Tries.</summary>
    /// <param name="paths">The store.</param>
    /// <param name="toFree">To free space: the reserve may be used up.</param>
    /// <exception cref="EnvironmentException">There is none.</exception>
    public static void Ensure(StorePaths paths, bool toFree)
    {
        if (HasRoom(paths) || (toFree && FileCalls.Unlink(paths.Reserve) && HasRoom(paths))) return;
        throw new EnvironmentException($"the store {paths.Root}: No space left on device, and writing to it needs {Needed(paths) >> 10} KiB at least",
            toFree ? "free some space beside the store and try again; what is committed is whole" : StoreErrors.FreeSpace);
    }

    /// <summary>The same where the database is open already: RocksDB tells of a full disk then, and where much is free nothing is tried.</summary>
    public static void EnsureOpen(StorePaths paths, bool toFree)
    {
        if (!IsPlenty(paths)) Ensure(paths, toFree);
    }

    /// <summary>So much is free that a capture which completes its last files meanwhile does not take the room to open.</summary>
    public static bool IsPlenty(StorePaths paths) => FileCalls.FileSystem(paths.Root).FreeBytes >= Plenty;

    /// <summary>Bytes of the reserve of a store whose database has so many.</summary>
    public static long ReserveFor(ulong databaseBytes) => Math.Clamp((long)(databaseBytes / ReserveShare) >> 20 << 20, LeastReserve, MostReserve);

    /// <summary>Makes the reserve, if there is none or a smaller one, and enough space. A failure is nobody's business: the next writer tries again.</summary>
    public static void KeepReserve(StorePaths paths)
    {
        try
        {
            var size = new FileInfo(paths.Reserve) is { Exists: true } there ? there.Length : 0;
            if (size >= MostReserve) return;
            var wanted = ReserveFor(StoreSizes.DirectoryBytes(paths.Database));
            if (size >= wanted || !IsPlenty(paths)) return;
            var made = false;
            try
            {
                made = Allocate(paths.Reserve, wanted);
            }
            finally
            {
                if (!made) FileCalls.Unlink(paths.Reserve); // a part of it would count as all of it
            }
        }
        catch (Exception e) when (e is LinuxException or IOException or UnauthorizedAccessException)
        {
            System.Diagnostics.Debug.WriteLine(e.Message);
        }
    }

    private static bool HasRoom(StorePaths paths)
    {
        try
        {
            return Allocate(paths.Room, Needed(paths));
        }
        finally
        {
            FileCalls.Unlink(paths.Room);
        }
    }

    /// <summary>A new manifest has all that the old one says, the names of all tables above all.</summary>
    private static long Needed(StorePaths paths) =>
        ToOpen + (Directory.Exists(paths.Database) ? new DirectoryInfo(paths.Database).EnumerateFiles("MANIFEST-*").Sum(f => f.Length) : 0);

    private static bool Allocate(string path, long bytes)
    {
        try
        {
            using var file = FileCalls.Open(path, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.Truncate | OpenFlags.NoFollow);
            FileCalls.Allocate(file, bytes, path);
            return true;
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.ENOSPC or Errno.EDQUOT)
        {
            return false;
        }
    }
}
