using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>What statx(2) says of a file: enough to tell later whether it is still the same one.</summary>
/// <param name="Mode">st_mode: type and permissions, inode(7).</param>
/// <param name="Dev">Device it lies on, encoded as makedev(3) does.</param>
/// <param name="Inode">Inode number.</param>
/// <param name="SizeBytes">Size.</param>
/// <param name="MtimeNs">Last modification, nanoseconds since the epoch.</param>
/// <param name="Rdev">For device files: which device, encoded as makedev(3) does.</param>
/// <param name="Links">Hard links; 0 for a deleted file that is still open.</param>
/// <param name="Uid">Owner.</param>
/// <param name="Gid">Its group.</param>
public readonly record struct FileStatus(uint Mode, ulong Dev, ulong Inode, ulong SizeBytes, long MtimeNs, ulong Rdev, uint Links, uint Uid, uint Gid)
{
    private const uint TypeMask = 0xF000; // S_IFMT, inode(7)
    private const uint Regular = 0x8000;
    private const uint Directory = 0x4000;

    /// <summary>A regular file (S_ISREG).</summary>
    public bool IsRegular => (Mode & TypeMask) == Regular;

    /// <summary>A directory (S_ISDIR).</summary>
    public bool IsDirectory => (Mode & TypeMask) == Directory;

    /// <summary>Follows symbolic links, the magic ones of /proc/PID/fd and /proc/PID/exe too.</summary>
    /// <exception cref="LinuxException">statx failed.</exception>
    public static FileStatus Of(string path)
    {
        var error = TryOf(path, out var status);
        return error == 0 ? status : throw new LinuxException("statx", error, path);
    }

    /// <summary>As <see cref="Of(string)"/>, but returns the errno, or 0.</summary>
    public static int TryOf(string path, out FileStatus status) => TryAt(FileNative.AtFdCwd, path, 0, out status);

    /// <summary>The same of a symbolic link itself.</summary>
    public static int TryOfLink(string path, out FileStatus status) => TryAt(FileNative.AtFdCwd, path, FileNative.AtSymlinkNoFollow, out status);

    /// <summary>The file behind an open handle.</summary>
    /// <exception cref="LinuxException">statx failed.</exception>
    public static FileStatus Of(SafeFileHandle handle)
    {
        var held = false;
        try
        {
            handle.DangerousAddRef(ref held);
            var error = TryAt((int)handle.DangerousGetHandle(), "", FileNative.AtEmptyPath, out var status);
            return error == 0 ? status : throw new LinuxException("statx", error, "an open file");
        }
        finally
        {
            if (held)
                handle.DangerousRelease();
        }
    }

    internal static int TryAt(int directory, string path, int flags, out FileStatus status)
    {
        if (FileNative.Statx(directory, path, flags, FileNative.StatxBasicStats, out var x) < 0)
        {
            status = default;
            return Marshal.GetLastPInvokeError();
        }
        status = new FileStatus(x.Mode, MakeDev(x.DevMajor, x.DevMinor), x.Inode, x.Size,
            (x.Mtime.Seconds * 1_000_000_000) + x.Mtime.Nanoseconds, MakeDev(x.RdevMajor, x.RdevMinor), x.Links, x.Uid, x.Gid);
        return 0;
    }

    /// <summary>makedev(3) of glibc: the encoding of st_dev.</summary>
    public static ulong MakeDev(uint major, uint minor) =>
        ((ulong)(major & 0x00000fff) << 8) | ((ulong)(major & 0xfffff000) << 32)
        | (minor & 0x000000ff) | ((ulong)(minor & 0xffffff00) << 12);
}

/// <summary>statx(2) and what it needs.</summary>
internal static partial class FileNative
{
    internal const int AtFdCwd = -100;       // AT_FDCWD, openat(2)
    internal const int AtEmptyPath = 0x1000, AtSymlinkNoFollow = 0x100; // AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, statx(2)
    internal const uint StatxBasicStats = 0x7ff; // STATX_BASIC_STATS, statx(2)

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Statx(int directory, string path, int flags, uint mask, out StatxBuffer buffer);

    [StructLayout(LayoutKind.Sequential)]
    internal struct StatxTimestamp
    {
        internal long Seconds;
        internal uint Nanoseconds;
        internal int Reserved;
    }

    // struct statx, statx(2): 256 bytes.
    [StructLayout(LayoutKind.Sequential, Size = 256)]
    internal struct StatxBuffer
    {
        internal uint Mask;
        internal uint BlockSize;
        internal ulong Attributes;
        internal uint Links;
        internal uint Uid;
        internal uint Gid;
        internal ushort Mode;
        internal ushort Spare;
        internal ulong Inode;
        internal ulong Size;
        internal ulong Blocks;
        internal ulong AttributesMask;
        internal StatxTimestamp Atime;
        internal StatxTimestamp Btime;
        internal StatxTimestamp Ctime;
        internal StatxTimestamp Mtime;
        internal uint RdevMajor;
        internal uint RdevMinor;
        internal uint DevMajor;
        internal uint DevMinor;
    }
}
