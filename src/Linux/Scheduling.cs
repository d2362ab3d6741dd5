namespace Crstore.Linux;

/// <summary>sched_getscheduler(2).</summary>
public static class Scheduling
{
    private const long SchedGetScheduler = 145; // system call number of x86-64

    /// <summary>A thread's policy, with SCHED_RESET_ON_FORK (0x40000000), which /proc does not tell.</summary>
    /// <exception cref="LinuxException">ESRCH: gone.</exception>
    public static uint Policy(int tid) => (uint)RawSyscall.Checked("sched_getscheduler", null, SchedGetScheduler, tid);
}
