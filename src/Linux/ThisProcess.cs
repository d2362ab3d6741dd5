using System.Runtime.InteropServices;
using System.Text;

namespace Crstore.Linux;

/// <summary>This process: as whom it runs, and ending it without any of the runtime's ceremony.</summary>
public static unsafe partial class ThisProcess
{
    /// <summary>geteuid(2): who the kernel takes us for. /proc/self belongs to root where the process may not be dumped.</summary>
    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint EffectiveUser();

    /// <summary>getpgid(2): the process group of a process, of this one for 0; -1 if there is none.</summary>
    [LibraryImport("libc", EntryPoint = "getpgid")]
    public static partial int GroupOf(int pid);

    /// <summary>gettid(2) of the calling thread.</summary>
    [LibraryImport("libc", EntryPoint = "gettid")]
    public static partial int ThreadId();

    /// <summary>sched_getcpu(3): the processor that the calling thread runs on; -1 if it can't be told.</summary>
    [LibraryImport("libc", EntryPoint = "sched_getcpu")]
    public static partial int CurrentCpu();

    /// <summary>Whether processes whose parent ends become children of this one: prctl(PR_SET_CHILD_SUBREAPER).</summary>
    public static void AdoptOrphans(bool adopt)
    {
        const long prctl = 157, setChildSubreaper = 36;
        RawSyscall.Checked("prctl(PR_SET_CHILD_SUBREAPER)", null, prctl, setChildSubreaper, adopt ? 1 : 0);
    }

    /// <summary>CPU time that the calling thread has used: what it waited for a CPU is not in it.</summary>
    public static TimeSpan ThreadCpuTime()
    {
        const int threadCpuTime = 3; // CLOCK_THREAD_CPUTIME_ID, clock_gettime(2)
        var time = stackalloc long[2]; // struct timespec
        if (ClockGetTime(threadCpuTime, time) != 0) throw LinuxException.Last("clock_gettime", "CLOCK_THREAD_CPUTIME_ID");
        return TimeSpan.FromTicks(time[0] * TimeSpan.TicksPerSecond + time[1] / 100);
    }

    /// <summary>
    /// Writes a message to stderr, if it takes it without blocking (its reader may be the very process that is frozen),
    /// and ends at once: no finally-block, no finalizer. The kernel detaches all tracees.
    /// </summary>
    public static void ExitNow(int exitCode, string message)
    {
        var bytes = Encoding.UTF8.GetBytes(message + "\n");
        const short pollOut = 4;
        var pollfd = stackalloc int[2] { 2, pollOut }; // struct pollfd { int fd; short events, revents; }, poll(2)
        fixed (byte* p = bytes)
        {
            if (RawSyscall.Invoke(RawSyscall.Poll, (long)pollfd, 1, 100) == 1) RawSyscall.Errno(1, 2, (long)p, bytes.Length);
        }
        RawSyscall.Errno(RawSyscall.ExitGroup, exitCode);
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime", SetLastError = true)]
    private static partial int ClockGetTime(int clock, long* time);
}
