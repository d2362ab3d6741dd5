using System.Runtime.InteropServices;

namespace Crstore.Linux.Files;

/// <summary>How many fds this process may have: RLIMIT_NOFILE, getrlimit(2).</summary>
public static partial class DescriptorLimit
{
    private const int NoFile = 7;

    /// <summary>The soft limit.</summary>
    public static unsafe ulong Current
    {
        get
        {
            var limit = stackalloc ulong[2];
            LinuxException.Check(GetLimit(NoFile, limit), "getrlimit(RLIMIT_NOFILE)");
            return limit[0];
        }
    }

    /// <summary>Raises the soft limit to the hard one.</summary>
    public static unsafe void Raise()
    {
        var limit = stackalloc ulong[2]; // struct rlimit: soft, hard
        LinuxException.Check(GetLimit(NoFile, limit), "getrlimit(RLIMIT_NOFILE)");
        limit[0] = limit[1];
        LinuxException.Check(SetLimit(NoFile, limit), "setrlimit(RLIMIT_NOFILE)");
    }

    [LibraryImport("libc", EntryPoint = "getrlimit", SetLastError = true)]
    private static unsafe partial int GetLimit(int resource, ulong* limit);

    [LibraryImport("libc", EntryPoint = "setrlimit", SetLastError = true)]
    private static unsafe partial int SetLimit(int resource, ulong* limit);
}
