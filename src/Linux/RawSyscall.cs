using System.Runtime.InteropServices;

namespace Crstore.Linux;

/// <summary>
/// syscall(2): the kernel's own interface, without what libc's wrappers add (its ptrace wrapper changes the PEEK requests,
/// its waitid wrapper lacks nothing but is a cancellation point, and several calls have no wrapper in glibc 2.36).
/// </summary>
internal static partial class RawSyscall
{
    // System call numbers of x86-64, arch/x86/entry/syscalls/syscall_64.tbl.
    internal const long Read = 0, Close = 3, Poll = 7, Pread64 = 17, Pwrite64 = 18, SchedYield = 24, Nanosleep = 35, Wait4 = 61, Kill = 62,
        Ptrace = 101, Getdents64 = 217, Tgkill = 234, Waitid = 247, GetRobustList = 274, MovePages = 279, Pipe2 = 293, ExitGroup = 231,
        SchedSetAttr = 314, SchedGetAttr = 315, PidfdSendSignal = 424, PidfdOpen = 434, PidfdGetfd = 438;

    /// <summary>The result, or -1 with errno in <see cref="Marshal.GetLastPInvokeError"/>.</summary>
    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    internal static partial long Invoke(long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0, long a4 = 0, long a5 = 0);

    /// <summary>0, or the errno.</summary>
    internal static int Errno(long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0, long a4 = 0, long a5 = 0) =>
        Invoke(number, a0, a1, a2, a3, a4, a5) == -1 ? Marshal.GetLastPInvokeError() : 0;

    /// <summary>The result; repeats on EINTR, throws on every other error.</summary>
    internal static long Checked(string call, string? subject, long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0, long a4 = 0, long a5 = 0)
    {
        while (true)
        {
            var result = Invoke(number, a0, a1, a2, a3, a4, a5);
            if (result != -1) return result;
            if (Marshal.GetLastPInvokeError() != Linux.Errno.EINTR) throw LinuxException.Last(call, subject);
        }
    }
}
