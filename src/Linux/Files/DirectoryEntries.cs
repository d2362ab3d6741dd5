using System.Runtime.InteropServices;
using Crstore.Linux.Memory;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>
/// Entries of a directory that is held open, openat(2) and its kin: whatever becomes of its path meanwhile, it is this directory.
/// Handles are of O_PATH: they hold a file without opening it, whatever kind it is of. Symbolic links are never followed.
/// </summary>
public static unsafe partial class DirectoryEntries
{
    private const int PathOnly = 0x200000, CloseOnExec = 0x80000, NoFollow = 0x20000; // O_PATH, O_CLOEXEC, O_NOFOLLOW, open(2)
    private const int LongestPath = 4096; // PATH_MAX

    /// <summary>The root directory.</summary>
    public static SafeFileHandle Root() => RawFile.Open("/", (RawOpen)PathOnly | RawOpen.Directory);

    /// <summary>Holds an entry, whatever it is: 0 or the errno.</summary>
    public static int TryHold(SafeFileHandle directory, string name, out SafeFileHandle? entry)
    {
        var fd = OpenAt(directory, name, PathOnly | CloseOnExec | NoFollow);
        entry = fd < 0 ? null : new SafeFileHandle(fd, ownsHandle: true);
        return fd < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>Where a symbolic link that is held leads to: readlinkat(2).</summary>
    public static string Target(SafeFileHandle link)
    {
        var buffer = new byte[LongestPath];
        fixed (byte* at = buffer) return System.Text.Encoding.UTF8.GetString(at, (int)LinuxException.Check(ReadLinkAt(link, "", at, buffer.Length), "readlinkat"));
    }

    /// <summary>unlinkat(2): 0 or the errno.</summary>
    public static int TryRemove(SafeFileHandle directory, string name) => UnlinkAt(directory, name, 0) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>chmod(2) of what is held; not of a symbolic link.</summary>
    public static void SetMode(SafeFileHandle held, uint mode) => LinuxException.Check(Chmod(Path(held), mode), "chmod");

    /// <summary>A path to what is held: as short as an address of unix(7) must be, and led astray by nobody.</summary>
    public static string Path(SafeFileHandle held) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"/proc/self/fd/{(int)held.DangerousGetHandle()}");

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenAt(SafeFileHandle directory, string name, int flags);

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint ReadLinkAt(SafeFileHandle directory, string name, byte* buffer, nint size);

    [LibraryImport("libc", EntryPoint = "unlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int UnlinkAt(SafeFileHandle directory, string name, int flags);

    [LibraryImport("libc", EntryPoint = "chmod", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Chmod(string path, uint mode);
}
