using System.Globalization;

namespace Crstore.Capture.State;

/// <summary>Names of the system calls that programs wait in, for people who look at a thread (`crstore show`).</summary>
internal static class SyscallNames
{
    // x86-64, syscall_64.tbl.
    private static readonly Dictionary<ulong, string> Names = new()
    {
        [0] = "read", [1] = "write", [7] = "poll", [17] = "pread64", [18] = "pwrite64", [19] = "readv", [20] = "writev",
        [23] = "select", [34] = "pause", [35] = "nanosleep", [42] = "connect", [43] = "accept", [44] = "sendto", [45] = "recvfrom",
        [46] = "sendmsg", [47] = "recvmsg", [61] = "wait4", [65] = "semop", [69] = "msgsnd", [70] = "msgrcv", [72] = "fcntl",
        [73] = "flock", [74] = "fsync", [128] = "rt_sigtimedwait", [130] = "rt_sigsuspend", [202] = "futex", [208] = "io_getevents",
        [219] = "restart_syscall", [220] = "semtimedop", [230] = "clock_nanosleep", [232] = "epoll_wait", [247] = "waitid",
        [270] = "pselect6", [271] = "ppoll", [281] = "epoll_pwait", [288] = "accept4", [299] = "recvmmsg", [426] = "io_uring_enter",
        [441] = "epoll_pwait2", [449] = "futex_waitv",
    };

    /// <summary>The name, "syscall N" for others, empty for a thread that is in none (orig_rax -1).</summary>
    internal static string Describe(ulong number) =>
        (long)number < 0 ? ""
        : Names.TryGetValue(number, out var name) ? name
        : string.Create(CultureInfo.InvariantCulture, $"syscall {number}");
}
