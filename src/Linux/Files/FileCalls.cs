using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>How to open a file, open(2). O_CLOEXEC is always set.</summary>
[Flags]
public enum OpenFlags
{
    /// <summary>O_RDONLY.</summary>
    ReadOnly = 0,

    /// <summary>O_RDWR.</summary>
    ReadWrite = 2,

    /// <summary>O_CREAT: mode 0600.</summary>
    Create = 0x40,

    /// <summary>O_EXCL: it must not exist.</summary>
    Exclusive = 0x80,

    /// <summary>O_TRUNC.</summary>
    Truncate = 0x200,

    /// <summary>O_APPEND.</summary>
    Append = 0x400,

    /// <summary>O_DIRECTORY: it must be a directory.</summary>
    Directory = 0x10000,

    /// <summary>O_NOFOLLOW: it must not be a symbolic link.</summary>
    NoFollow = 0x20000,
}

/// <summary>What statfs(2) says of the file system that holds a path.</summary>
/// <param name="FreeBytes">Free for an unprivileged user.</param>
/// <param name="ReadOnly">ST_RDONLY.</param>
public readonly record struct FileSystemInfo(ulong FreeBytes, bool ReadOnly);

/// <summary>
/// Files where .NET's own calls don't do: File.Open takes flock(2) locks of its own (FileShare), cannot sync a
/// directory and hides errno. Everything throws <see cref="LinuxException"/> with the call and the path.
/// </summary>
public static partial class FileCalls
{
    private const int O_CLOEXEC = 0x80000; // open(2)
    private const int LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4; // flock(2)
    private const int POSIX_FADV_WILLNEED = 3; // posix_fadvise(2)
    private const int ST_RDONLY = 1; // statvfs(3)

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int flock(SafeFileHandle file, int operation);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fsync(SafeFileHandle file);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fdatasync(SafeFileHandle file);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ftruncate(SafeFileHandle file, long length);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fallocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc")]
    private static partial int posix_fadvise(SafeFileHandle file, long offset, long length, int advice);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int mkdir(string path, uint mode);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int rename(string from, string to);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int unlink(string path);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint pread(SafeFileHandle file, Span<byte> buffer, nuint count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint pwrite(SafeFileHandle file, ReadOnlySpan<byte> buffer, nuint count, long offset);

    [LibraryImport("libc")]
    private static partial uint umask(uint mask);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statvfs(string path, Span<ulong> buffer);

    /// <summary>open(2).</summary>
    public static SafeFileHandle Open(string path, OpenFlags flags)
    {
        while (true)
        {
            var fd = open(path, (int)flags | O_CLOEXEC, 0x180 /* 0600 */);
            if (fd >= 0) return new SafeFileHandle(fd, ownsHandle: true);
            if (Marshal.GetLastPInvokeError() != Errno.EINTR) throw LinuxException.Last("open", path);
        }
    }

    /// <summary>flock(2) without waiting: false if somebody else holds it. The lock goes when the handle is closed or its process dies.</summary>
    public static bool TryLock(SafeFileHandle file, bool shared, string path)
    {
        while (true)
        {
            if (flock(file, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return true;
            var errno = Marshal.GetLastPInvokeError();
            if (errno == Errno.EAGAIN) return false;
            if (errno != Errno.EINTR) throw new LinuxException("flock", errno, path);
        }
    }

    /// <summary>fsync(2) or fdatasync(2).</summary>
    public static void Sync(SafeFileHandle file, string path, bool dataOnly = false)
    {
        if (dataOnly) LinuxException.Check(fdatasync(file), "fdatasync", path);
        else LinuxException.Check(fsync(file), "fsync", path);
    }

    /// <summary>Makes creations, renames and removals in a directory durable.</summary>
    public static void SyncDirectory(string path)
    {
        using var directory = Open(path, OpenFlags.ReadOnly | OpenFlags.Directory);
        Sync(directory, path);
    }

    /// <summary>mkdir(2) with mode 0700; false if it is there already.</summary>
    public static bool MakeDirectory(string path)
    {
        if (mkdir(path, 0x1C0 /* 0700 */) == 0) return true;
        var errno = Marshal.GetLastPInvokeError();
        return errno == Errno.EEXIST ? false : throw new LinuxException("mkdir", errno, path);
    }

    /// <summary>rename(2).</summary>
    public static void Rename(string from, string to) => LinuxException.Check(rename(from, to), "rename", $"{from} -> {to}");

    /// <summary>unlink(2); false if it is gone already.</summary>
    public static bool Unlink(string path)
    {
        if (unlink(path) == 0) return true;
        var errno = Marshal.GetLastPInvokeError();
        return errno == Errno.ENOENT ? false : throw new LinuxException("unlink", errno, path);
    }

    /// <summary>pread(2) until the buffer is full or the file ends; the bytes read.</summary>
    public static int ReadAt(SafeFileHandle file, Span<byte> buffer, long offset, string path)
    {
        var done = 0;
        while (done < buffer.Length)
        {
            var n = pread(file, buffer[done..], (nuint)(buffer.Length - done), offset + done);
            if (n < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR) continue;
            LinuxException.Check(n, "pread", path);
            if (n == 0) break;
            done += (int)n;
        }

        return done;
    }

    /// <summary>posix_fadvise(2): this part will be read soon. The kernel begins to read it into the page cache, in the background.</summary>
    public static void ReadAhead(SafeFileHandle file, long offset, long length, string path)
    {
        var error = posix_fadvise(file, offset, length, POSIX_FADV_WILLNEED); // it returns the error
        if (error != 0) throw new LinuxException("posix_fadvise", error, path);
    }

    /// <summary>pwrite(2) of everything.</summary>
    public static void WriteAt(SafeFileHandle file, ReadOnlySpan<byte> data, long offset, string path)
    {
        var done = 0;
        while (done < data.Length)
        {
            var n = pwrite(file, data[done..], (nuint)(data.Length - done), offset + done);
            if (n < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR) continue;
            LinuxException.Check(n, "pwrite", path);
            done += (int)n;
        }
    }

    /// <summary>ftruncate(2).</summary>
    public static void SetLength(SafeFileHandle file, long length, string path) =>
        LinuxException.Check(ftruncate(file, length), "ftruncate", path);

    /// <summary>Gives a file space on the disk: fallocate(2), or zeros written where the file system has no such call.</summary>
    public static void Allocate(SafeFileHandle file, long length, string path)
    {
        while (fallocate(file, 0, 0, length) != 0)
        {
            var errno = Marshal.GetLastPInvokeError();
            if (errno == Errno.EINTR) continue;
            if (errno is not (Errno.EOPNOTSUPP or Errno.ENOSYS)) throw new LinuxException("fallocate", errno, path);
            var zeros = new byte[64 << 10];
            for (long at = 0; at < length; at += zeros.Length) WriteAt(file, zeros.AsSpan(0, (int)Math.Min(zeros.Length, length - at)), at, path);
            return;
        }
    }

    /// <summary>The text of a small file (up to 64 KiB), without .NET's implicit lock on it; null if it isn't there.</summary>
    public static string? ReadText(string path)
    {
        try
        {
            using var file = Open(path, OpenFlags.ReadOnly);
            var buffer = new byte[65536];
            return Encoding.UTF8.GetString(buffer.AsSpan(0, ReadAt(file, buffer, 0, path)));
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.ENOENT)
        {
            return null;
        }
    }

    /// <summary>Files and directories made by this process from now on are its user's alone: process memory holds secrets.</summary>
    public static void MakePrivateByDefault() => _ = umask(0x3F /* 0077 */);

    /// <summary>statvfs(3).</summary>
    public static FileSystemInfo FileSystem(string path)
    {
        Span<ulong> s = stackalloc ulong[14]; // struct statvfs, 112 bytes on x86-64
        LinuxException.Check(statvfs(path, s), "statvfs", path);
        return new FileSystemInfo(s[4] * s[1], (s[9] & ST_RDONLY) != 0); // f_bavail * f_frsize, f_flag
    }
}
