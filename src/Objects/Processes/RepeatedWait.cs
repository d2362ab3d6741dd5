namespace Crstore.Objects.Processes;

/// <summary>
/// Waits whose relative timeout is a number of milliseconds in a register, and that the thread makes again from the start when they were interrupted:
/// epoll_wait(2), epoll_pwait(2). What is left of the timeout may be put into that register where the C library made the call: its functions don't look at it
/// again, and their callers can't expect it back (r10). Of code that makes its calls itself that is not known.
/// </summary>
public static class RepeatedWait
{
    private const ulong EpollWait = 232, EpollPwait = 281; // syscall_64.tbl; the timeout is the fourth argument of both
    private const long Millisecond = 1_000_000;
    private static readonly string[] CLibraries = ["libc.so.6", "libc-2.", "ld-musl-x86_64.so.1", "libc.musl-x86_64.so.1"];

    /// <summary>It is one of these calls.</summary>
    public static bool IsOne(ulong call) => call is EpollWait or EpollPwait;

    /// <summary>A timeout less what has passed of it, rather one millisecond too many. Those without an end, or that don't wait, stay so.</summary>
    public static int Less(int milliseconds, ulong elapsedNs) =>
        milliseconds <= 0 ? milliseconds : (int)Math.Max(0, milliseconds - (long)Math.Min(elapsedNs / Millisecond, int.MaxValue));

    /// <summary>The file of a mapping is the C library.</summary>
    public static bool IsCLibrary(string path)
    {
        var name = Path.GetFileName(path);
        foreach (var library in CLibraries)
            if (name.StartsWith(library, StringComparison.Ordinal)) return true;
        return false;
    }
}
