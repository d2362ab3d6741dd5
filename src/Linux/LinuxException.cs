using System.Runtime.InteropServices;

namespace Crstore.Linux;

/// <summary>A system call that failed. Rooms above turn it into an error that names the object and what to do.</summary>
public sealed class LinuxException(string call, int errno, string? subject = null)
    : Exception($"{call}{(subject is null ? "" : $" {subject}")}: {Errno.Describe(errno)}")
{
    /// <summary>errno(3).</summary>
    public int ErrorNumber { get; } = errno;

    /// <summary>The call's name.</summary>
    public string Call { get; } = call;

    /// <summary>The exception for the errno that the last P/Invoke with SetLastError left.</summary>
    public static LinuxException Last(string call, string? subject = null) => new(call, Marshal.GetLastPInvokeError(), subject);

    /// <summary>Throws for a negative result, else returns it.</summary>
    public static long Check(long result, string call, string? subject = null) =>
        result < 0 ? throw Last(call, subject) : result;

    /// <summary>Throws for a negative result, else returns it.</summary>
    public static int Check(int result, string call, string? subject = null) =>
        result < 0 ? throw Last(call, subject) : result;
}

/// <summary>errno values of x86-64 Linux, errno(3).</summary>
public static class Errno
{
#pragma warning disable CS1591 // names are the documentation
    public const int EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, ENXIO = 6, E2BIG = 7, EBADF = 9, ECHILD = 10,
        EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17, EXDEV = 18, ENODEV = 19, ENOTDIR = 20,
        EISDIR = 21, EINVAL = 22, ENFILE = 23, EMFILE = 24, ENOTTY = 25, EFBIG = 27, ENOSPC = 28, ESPIPE = 29, EROFS = 30,
        EPIPE = 32, ERANGE = 34, ENAMETOOLONG = 36, ENOSYS = 38, ENOTEMPTY = 39, ELOOP = 40, EMSGSIZE = 90, ENOPROTOOPT = 92, EOPNOTSUPP = 95, EADDRINUSE = 98,
        EADDRNOTAVAIL = 99, ENOTCONN = 107, ETIMEDOUT = 110, ECONNREFUSED = 111, EDQUOT = 122;
#pragma warning restore CS1591

    /// <summary>strerror(3) and the number.</summary>
    public static string Describe(int errno) => $"{Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})";
}
