namespace Crstore.Linux;

/// <summary>Clocks that clock_nanosleep(2) sleeps by.</summary>
public static class SleepClocks
{
    private const int ProcessTime = 2, ThreadTime = 3; // CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, clock_gettime(2)

    /// <summary>False for those that count a process's or a thread's time on a processor (other processes' are negative): how long one has slept says nothing of them.</summary>
    /// <param name="clock">A clockid_t, as its register has it.</param>
    public static bool GoWithTime(ulong clock) => (int)clock is >= 0 and not (ProcessTime or ThreadTime);
}
