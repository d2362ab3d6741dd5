namespace Crstore.Linux;

/// <summary>
/// How long the calling thread runs before others have their turn, where they want its processor: sched_setattr(2), sched_runtime of an ordinary policy (Linux 6.12; ignored before). It takes no part of the
/// processor from anybody: a thread with a shorter slice has shorter turns, and sooner. When it wakes up it is let in at once, before the turn of one with a longer slice is over
/// (PREEMPT_SHORT, kernel/sched/features.h).
/// </summary>
public static unsafe class TimeSlice
{
    /// <summary>The shortest that the kernel takes, in nanoseconds.</summary>
    public const ulong ShortestNs = 100_000;

    /// <summary>The kernel's own.</summary>
    public const ulong DefaultNs = 0;

    private const int PolicyOffset = 4, RuntimeOffset = 24; // struct sched_attr, linux/sched/types.h
    private const int Other = 0; // SCHED_OTHER; others have no slices, or mean something else by it

    /// <summary>Sets it. False: refused, or the thread has another policy.</summary>
    public static bool TrySet(ulong nanoseconds)
    {
        var attributes = stackalloc byte[SchedulingAttributes.Size];
        if (RawSyscall.Errno(RawSyscall.SchedGetAttr, 0, (long)attributes, SchedulingAttributes.Size) != 0 || *(int*)(attributes + PolicyOffset) != Other) return false;
        *(ulong*)(attributes + RuntimeOffset) = nanoseconds;
        return RawSyscall.Errno(RawSyscall.SchedSetAttr, 0, (long)attributes) == 0; // the nice value in there is its own
    }
}
