namespace Crstore.Linux;

/// <summary>struct sched_attr, sched_setattr(2): policy, flags (reset on fork), niceness, priority, what a deadline or a time slice is made of, utilization clamps.</summary>
public static unsafe class SchedulingAttributes
{
    /// <summary>Bytes of its first version, without utilization clamps.</summary>
    public const int Size = 48;

    /// <summary>Bytes with utilization clamps, since Linux 5.3: the least and the most, 4 bytes each, come last. Both are 0 on a kernel that has none.</summary>
    public const int SizeWithClamps = 56;

    /// <summary>A thread's, 0 for the calling one's. The first 4 bytes say how much of it the kernel knows.</summary>
    /// <exception cref="LinuxException">ESRCH: gone.</exception>
    public static byte[] Get(int tid)
    {
        var attributes = new byte[SizeWithClamps];
        fixed (byte* p = attributes) RawSyscall.Checked("sched_getattr", null, RawSyscall.SchedGetAttr, tid, (long)p, SizeWithClamps, 0);
        return attributes;
    }
}
