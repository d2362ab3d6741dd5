using System.Runtime.InteropServices;
using System.Text;

namespace Crstore.Linux;

/// <summary>Files of /proc, read and listed with as few system calls as can be: some of it happens while the target is frozen.</summary>
public static unsafe partial class TaskFile
{
    private const int ReadOnly = 0, Directory = 0x10000, CloseOnExec = 0x80000; // open(2)

    /// <summary>The whole file. ENOENT or ESRCH if the process is gone.</summary>
    public static byte[] ReadBytes(string path)
    {
        using var file = OpenPath(path, ReadOnly);
        var buffer = new byte[4096];
        for (var length = 0; ;)
        {
            long n;
            fixed (byte* p = &buffer[length])
                n = RawSyscall.Checked("read", path, RawSyscall.Read, file.DangerousGetHandle(), (long)p, buffer.Length - length);
            if (n == 0) return buffer[..length];
            length += (int)n;
            if (length == buffer.Length) Array.Resize(ref buffer, buffer.Length * 4);
        }
    }

    /// <summary>The whole file as text.</summary>
    public static string ReadText(string path) => Encoding.UTF8.GetString(ReadBytes(path));

    /// <summary>The same, or null if the process or file is gone.</summary>
    public static string? TryReadText(string path)
    {
        try
        {
            return ReadText(path);
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.ENOENT or Errno.ESRCH)
        {
            return null;
        }
    }

    /// <summary>The names in a directory that are decimal numbers (threads, fds), in the kernel's order.</summary>
    public static List<int> ListNumbers(string path)
    {
        using var directory = OpenPath(path, ReadOnly | Directory);
        var numbers = new List<int>();
        var buffer = stackalloc byte[8192];
        while (true)
        {
            var length = RawSyscall.Checked("getdents64", path, RawSyscall.Getdents64, directory.DangerousGetHandle(), (long)buffer, 8192);
            if (length == 0) return numbers;
            // struct linux_dirent64 { u64 ino; s64 off; u16 reclen; u8 type; char name[]; }, getdents(2)
            for (var at = 0; at < length; at += *(ushort*)(buffer + at + 16))
            {
                var number = 0;
                var name = buffer + at + 19;
                while (*name is >= (byte)'0' and <= (byte)'9') number = number * 10 + (*name++ - '0');
                if (*name == 0 && name > buffer + at + 19) numbers.Add(number);
            }
        }
    }

    private static Microsoft.Win32.SafeHandles.SafeFileHandle OpenPath(string path, int flags)
    {
        while (true)
        {
            var fd = OpenFile(path, flags | CloseOnExec, 0);
            if (fd >= 0) return new Microsoft.Win32.SafeHandles.SafeFileHandle(fd, ownsHandle: true);
            if (Marshal.GetLastPInvokeError() != Errno.EINTR) throw LinuxException.Last("open", path);
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags, uint mode);
}
