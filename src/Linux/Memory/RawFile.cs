using System.Runtime.InteropServices;
using Crstore.Linux.Files;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Memory;

/// <summary>Flags of open(2), x86-64 values (asm-generic/fcntl.h).</summary>
[Flags]
public enum RawOpen
{
    /// <summary>O_RDONLY.</summary>
    ReadOnly = 0,

    /// <summary>O_WRONLY.</summary>
    WriteOnly = 1,

    /// <summary>O_RDWR.</summary>
    ReadWrite = 2,

    /// <summary>O_CREAT.</summary>
    Create = 0x40,

    /// <summary>O_NONBLOCK: opening a FIFO that somebody put in place of a file must not block.</summary>
    NonBlock = 0x800,

    /// <summary>O_DIRECTORY.</summary>
    Directory = 0x10000,

    /// <summary>O_NOFOLLOW.</summary>
    NoFollow = 0x20000,
}

/// <summary>Device number, as /proc/PID/maps prints it.</summary>
public readonly record struct DeviceNumber(uint Major, uint Minor)
{
    /// <summary>As in st_dev.</summary>
    public ulong Encoded => FileStatus.MakeDev(Major, Minor);

    /// <summary>The kernel's own encoding, MKDEV of linux/kdev_t.h: "sdev" of fdinfo.</summary>
    public static DeviceNumber OfKernel(uint device) => new(device >> 20, device & 0xfffff);

    /// <summary>new_encode_dev of linux/kdev_t.h: tty_nr of /proc/PID/stat.</summary>
    public static DeviceNumber OfStat(uint device) => new((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
}

/// <summary>
/// Files without .NET's extras: <see cref="System.IO.File"/> takes advisory locks and calls fstat, and can neither refuse
/// symbolic links nor seek for data. /proc files are read in the freeze, where each call counts.
/// </summary>
public static partial class RawFile
{
    private const int CloseOnExec = 0x80000; // O_CLOEXEC, open(2)
    private const int SeekData = 3;          // SEEK_DATA, lseek(2)
    private const int SeekHole = 4;          // SEEK_HOLE, lseek(2)

    /// <summary>Opens with O_CLOEXEC.</summary>
    /// <exception cref="LinuxException">open failed.</exception>
    public static SafeFileHandle Open(string path, RawOpen flags = RawOpen.ReadOnly, uint mode = 0)
    {
        var errno = TryOpen(path, flags, mode, out var handle);
        return errno == 0 ? handle! : throw new LinuxException("open", errno, path);
    }

    /// <summary>Opens with O_CLOEXEC; returns 0 or the errno.</summary>
    public static int TryOpen(string path, RawOpen flags, uint mode, out SafeFileHandle? handle)
    {
        int fd;
        do fd = OpenNative(path, (int)flags | CloseOnExec, mode);
        while (fd < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR);
        handle = fd < 0 ? null : new SafeFileHandle(fd, ownsHandle: true);
        return fd < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>read(2), repeated on EINTR; 0 at the end.</summary>
    public static int Read(SafeFileHandle file, Span<byte> buffer)
    {
        nint n;
        do n = ReadNative(file, ref MemoryMarshal.GetReference(buffer), buffer.Length);
        while (n < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR);
        return (int)LinuxException.Check(n, "read");
    }

    /// <summary>One read(2), of a file that doesn't block; returns the byte count or -errno.</summary>
    public static int TryRead(SafeFileHandle file, Span<byte> buffer)
    {
        var n = ReadNative(file, ref MemoryMarshal.GetReference(buffer), buffer.Length);
        return n < 0 ? -Marshal.GetLastPInvokeError() : (int)n;
    }

    /// <summary>One write(2), of a file that doesn't block; returns the byte count or -errno.</summary>
    public static int TryWrite(SafeFileHandle file, ReadOnlySpan<byte> bytes)
    {
        var n = WriteNative(file, ref MemoryMarshal.GetReference(bytes), bytes.Length);
        return n < 0 ? -Marshal.GetLastPInvokeError() : (int)n;
    }

    /// <summary>pread(2), repeated on EINTR; returns the byte count or -errno.</summary>
    public static int TryReadAt(SafeFileHandle file, Span<byte> buffer, ulong offset)
    {
        nint n;
        do n = PreadNative(file, ref MemoryMarshal.GetReference(buffer), buffer.Length, (long)offset);
        while (n < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR);
        return n < 0 ? -Marshal.GetLastPInvokeError() : (int)n;
    }

    /// <summary>Writes everything, repeated on EINTR and short writes.</summary>
    public static void Write(SafeFileHandle file, ReadOnlySpan<byte> bytes, string subject)
    {
        while (!bytes.IsEmpty)
        {
            var n = WriteNative(file, ref MemoryMarshal.GetReference(bytes), bytes.Length);
            if (n < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR) continue;
            bytes = bytes[(int)LinuxException.Check(n, "write", subject)..];
        }
    }

    /// <summary>Reads a whole (small) file from its current position into a reused buffer that grows as needed; returns the length.</summary>
    public static int ReadWhole(SafeFileHandle file, ref byte[] buffer)
    {
        var length = 0;
        while (true)
        {
            // seq files return at most what their own buffer holds, so only 0 means the end.
            if (buffer.Length - length < 4096) Array.Resize(ref buffer, Math.Max(8192, buffer.Length * 2));
            var n = Read(file, buffer.AsSpan(length));
            if (n == 0) return length;
            length += n;
        }
    }

    /// <summary>First offset at or after <paramref name="from"/> that holds data, lseek(2) SEEK_DATA; null behind the last data. -errno in <paramref name="error"/>.</summary>
    public static ulong? NextData(SafeFileHandle file, ulong from, out int error) => SeekFor(file, from, SeekData, out error);

    /// <summary>First hole at or after <paramref name="from"/>; the end of the file counts as one.</summary>
    public static ulong? NextHole(SafeFileHandle file, ulong from, out int error) => SeekFor(file, from, SeekHole, out error);

    private static ulong? SeekFor(SafeFileHandle file, ulong from, int whence, out int error)
    {
        var at = SeekNative(file, (long)from, whence);
        error = at < 0 ? Marshal.GetLastPInvokeError() : 0;
        if (error == Errno.ENXIO) error = 0; // nothing further on
        return at < 0 ? null : (ulong)at;
    }

    /// <summary>f_type of statfs(2); 0 if it cannot be told.</summary>
    public static long FileSystemType(string path)
    {
        // struct statfs is 120 bytes on x86-64; f_type is the first word.
        Span<long> buffer = stackalloc long[32];
        return StatfsNative(path, ref MemoryMarshal.GetReference(buffer)) == 0 ? buffer[0] : 0;
    }

    /// <summary>TMPFS_MAGIC, statfs(2): tmpfs, shared memory and memfds.</summary>
    public const long TmpfsMagic = 0x01021994;

    /// <summary>HUGETLBFS_MAGIC, statfs(2).</summary>
    public const long HugetlbfsMagic = 0x958458f6;

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenNative(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint ReadNative(SafeFileHandle fd, ref byte buffer, nint count);

    [LibraryImport("libc", EntryPoint = "pread", SetLastError = true)]
    private static partial nint PreadNative(SafeFileHandle fd, ref byte buffer, nint count, long offset);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint WriteNative(SafeFileHandle fd, ref byte buffer, nint count);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long SeekNative(SafeFileHandle fd, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "statfs", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatfsNative(string path, ref long buffer);
}
