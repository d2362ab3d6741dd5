namespace Crstore.Linux;

/// <summary>Short waits between two looks at something that is about to happen.</summary>
public static unsafe class Pause
{
    /// <summary>nanosleep(2); a signal may cut it short.</summary>
    public static void Sleep(int microseconds)
    {
        var time = stackalloc long[2] { microseconds / 1_000_000, microseconds % 1_000_000 * 1000L };
        RawSyscall.Errno(RawSyscall.Nanosleep, (long)time, 0);
    }

    /// <summary>
    /// The same, for microseconds that count: not 50 longer, as the timer slack of a thread allows, PR_SET_TIMERSLACK(2const). It takes 20 for going to
    /// sleep and waking here, on a busy machine as well: who sleeps is put first, who yields, last.
    /// </summary>
    public static void SleepShortly(int microseconds)
    {
        const long setTimerSlack = 29, shortest = 1, usual = 0; // linux/prctl.h; 0: as the thread had it to begin with
        RawSyscall.Errno(RawSyscall.Prctl, setTimerSlack, shortest);
        Sleep(microseconds);
        RawSyscall.Errno(RawSyscall.Prctl, setTimerSlack, usual); // children of the thread would have it from it
    }
}
