namespace Crstore.Linux;

/// <summary>Short waits between two looks at something that is about to happen.</summary>
public static unsafe class Pause
{
    /// <summary>sched_yield(2).</summary>
    public static void Yield() => RawSyscall.Errno(RawSyscall.SchedYield);

    /// <summary>nanosleep(2); a signal may cut it short.</summary>
    public static void Sleep(int microseconds)
    {
        var time = stackalloc long[2] { microseconds / 1_000_000, microseconds % 1_000_000 * 1000L };
        RawSyscall.Errno(RawSyscall.Nanosleep, (long)time, 0);
    }
}
