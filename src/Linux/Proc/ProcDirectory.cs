using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Crstore.Linux.Files;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Proc;

/// <summary>
/// An open /proc/PID: its files and links relative to it, so that they belong to that very process even if the pid is
/// taken over by another one (reads then fail with ESRCH). Few system calls and one reused buffer, since it is used while
/// a target is frozen. Not thread safe.
/// </summary>
public sealed partial class ProcDirectory : IDisposable
{
    private const int OReadOnly = 0, OCloExec = 0x80000, ODirectory = 0x10000, OPath = 0x200000; // open(2), x86-64
    private const int AtStatxDontSync = 0x4000; // AT_STATX_DONT_SYNC, statx(2)
    private const int StartBuffer = 64 * 1024;
    private const int MaxLink = 64 * 1024;

    private readonly SafeFileHandle directory;
    private readonly string path;
    private byte[] buffer = new byte[StartBuffer];

    private ProcDirectory(SafeFileHandle directory, string path) => (this.directory, this.path) = (directory, path);

    /// <summary>Opens /proc/PID.</summary>
    /// <exception cref="LinuxException">ENOENT: no such process.</exception>
    public static ProcDirectory Open(int pid)
    {
        var path = string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}");
        var fd = OpenAt(FileNative.AtFdCwd, path, OPath | ODirectory | OCloExec, 0);
        return fd < 0 ? throw LinuxException.Last("open", path) : new ProcDirectory(new SafeFileHandle(fd, ownsHandle: true), path);
    }

    /// <summary>A whole file. The span is valid until the next call.</summary>
    /// <param name="name">Relative, for instance "task/12/stat".</param>
    /// <param name="limitBytes">More than that is an error, not a cut.</param>
    /// <exception cref="LinuxException">ESRCH or ENOENT: gone; EACCES or EPERM: not allowed.</exception>
    /// <exception cref="InvalidDataException">Longer than the limit.</exception>
    public ReadOnlySpan<byte> Read(string name, int limitBytes)
    {
        var error = TryRead(name, limitBytes, out var content);
        return error == 0 ? content : throw new LinuxException("read", error, $"{path}/{name}");
    }

    /// <summary>As <see cref="Read"/>, but returns the errno, or 0.</summary>
    /// <exception cref="InvalidDataException">Longer than the limit.</exception>
    public int TryRead(string name, int limitBytes, out ReadOnlySpan<byte> content)
    {
        content = default;
        var fd = OpenAt(Directory, name, OReadOnly | OCloExec, 0);
        if (fd < 0)
            return Marshal.GetLastPInvokeError();
        using var file = new SafeFileHandle(fd, ownsHandle: true);
        var length = 0;
        while (true)
        {
            if (length > limitBytes)
                throw new InvalidDataException($"{path}/{name} is longer than {limitBytes} bytes");
            if (length == buffer.Length)
                Array.Resize(ref buffer, buffer.Length * 2);
            var read = ReadFd(fd, ref buffer[length], buffer.Length - length);
            if (read == 0)
                break;
            if (read > 0)
            {
                length += (int)read;
                continue;
            }
            var error = Marshal.GetLastPInvokeError();
            if (error != Errno.EINTR)
                return error;
        }
        content = buffer.AsSpan(0, length);
        return 0;
    }

    /// <summary>Where a link points to, as the kernel words it: "socket:[12]", "/tmp/x (deleted)".</summary>
    /// <exception cref="LinuxException">ESRCH or ENOENT: gone; EACCES or EPERM: not allowed.</exception>
    public string ReadLink(string name)
    {
        var error = TryReadLink(name, out var target);
        return error == 0 ? target : throw new LinuxException("readlink", error, $"{path}/{name}");
    }

    /// <summary>As <see cref="ReadLink"/>, but returns the errno, or 0.</summary>
    public int TryReadLink(string name, out string target)
    {
        target = "";
        while (true)
        {
            var length = (int)ReadLinkAt(Directory, name, ref buffer[0], buffer.Length);
            if (length < 0)
                return Marshal.GetLastPInvokeError();
            if (length < buffer.Length)
            {
                target = Encoding.UTF8.GetString(buffer, 0, length);
                return 0;
            }
            if (length >= MaxLink)
                return Errno.ENAMETOOLONG;
            Array.Resize(ref buffer, buffer.Length * 2);
        }
    }

    /// <summary>
    /// What a file or link refers to; the errno, or 0. Asks no server (AT_STATX_DONT_SYNC): a network file system may
    /// hang, and the server of a FUSE mount may be the very process that is frozen.
    /// </summary>
    public int TryStat(string name, out FileStatus status) => FileStatus.TryAt(Directory, name, AtStatxDontSync, out status);

    /// <summary>The entries of a subdirectory that are numbers, ascending: "fd", "task".</summary>
    /// <exception cref="LinuxException">ESRCH or ENOENT: gone; EACCES or EPERM: not allowed.</exception>
    public List<int> Numbers(string name)
    {
        var fd = OpenAt(Directory, name, OReadOnly | ODirectory | OCloExec, 0);
        if (fd < 0)
            throw LinuxException.Last("open", $"{path}/{name}");
        using var listing = new SafeFileHandle(fd, ownsHandle: true);
        var numbers = new List<int>();
        while (true)
        {
            var length = (int)LinuxException.Check(GetDents(fd, ref buffer[0], buffer.Length), "getdents64", $"{path}/{name}");
            if (length == 0)
                break;
            // struct linux_dirent64, getdents(2): u64 ino, s64 off, u16 reclen, u8 type, name.
            for (var at = 0; at < length; at += BinaryPrimitives.ReadUInt16LittleEndian(buffer.AsSpan(at + 16)))
            {
                var entry = buffer.AsSpan(at + 19);
                if (int.TryParse(entry[..entry.IndexOf((byte)0)], NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                    numbers.Add(number);
            }
        }
        numbers.Sort();
        return numbers;
    }

    /// <inheritdoc/>
    public void Dispose() => directory.Dispose();

    private int Directory => directory.IsClosed
        ? throw new ObjectDisposedException(path)
        : (int)directory.DangerousGetHandle();

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenAt(int directory, string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint ReadFd(int fd, ref byte buffer, nint count);

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint ReadLinkAt(int directory, string path, ref byte buffer, nint count);

    [LibraryImport("libc", EntryPoint = "getdents64", SetLastError = true)]
    private static partial nint GetDents(int fd, ref byte buffer, nint count);
}
