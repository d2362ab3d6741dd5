namespace Crstore.Linux;

/// <summary>struct sched_attr, sched_setattr(2): policy, flags (reset on fork), niceness, priority, and what a deadline or a time slice is made of.</summary>
public static unsafe class SchedulingAttributes
{
    /// <summary>Bytes of it: the first version, without utilization clamps.</summary>
    public const int Size = 48;

    /// <summary>A thread's.</summary>
    /// <exception cref="LinuxException">ESRCH: gone.</exception>
    public static byte[] Get(int tid)
    {
        var attributes = new byte[Size];
        fixed (byte* p = attributes) RawSyscall.Checked("sched_getattr", null, RawSyscall.SchedGetAttr, tid, (long)p, Size, 0);
        return attributes;
    }
}
