namespace Crstore.Linux;

/// <summary>
/// The nice value of threads, -20 (first) to 19: on Linux each thread has its own, and one that is new has that of the thread that made it (setpriority(2), "C library/kernel differences").
/// With <c>/proc/sys/kernel/sched_autogroup_enabled</c> it counts among the threads of one session only (sched(7)).
/// </summary>
public static class Niceness
{
    /// <summary>The largest there is.</summary>
    public const int Most = 19;

    private static readonly HashSet<int> Watchers = []; // locked
    private const long GetPriority = 140, SetPriority = 141, WhoProcess = 0; // syscall_64.tbl; PRIO_PROCESS, which means a thread

    /// <summary>A thread's, 0 for the calling one's; null if it is gone.</summary>
    public static int? Of(int tid)
    {
        var result = RawSyscall.Invoke(GetPriority, WhoProcess, tid); // 20 less the nice value, so that none is an error
        return result < 0 ? null : 20 - (int)result;
    }

    /// <summary>Sets a thread's, 0 for the calling one's. False: it is gone, or the value is less than it has and that is not permitted (CAP_SYS_NICE, RLIMIT_NICE).</summary>
    public static bool TrySet(int tid, int nice) => RawSyscall.Errno(SetPriority, WhoProcess, tid, nice) == 0;

    /// <summary>
    /// Sets that of all threads of this process, of those too that are made meanwhile, as far as it is permitted. None is raised of those that <see cref="Watch"/>.
    /// </summary>
    /// <param name="nice">The value.</param>
    /// <param name="but">A thread to leave alone; 0: none.</param>
    public static void SetAll(int nice, int but = 0)
    {
        // One that another has made before its own turn came has the old value: until a look finds nothing to do.
        for (var changed = true; changed;)
        {
            changed = false;
            foreach (var tid in TaskList.Threads(Environment.ProcessId))
                if (tid != but && Of(tid) is { } now && now != nice && (now > nice || !IsWatcher(tid))) changed |= TrySet(tid, nice);
        }
    }

    /// <summary>Does it on the calling thread, whose value <see cref="SetAll"/> doesn't raise meanwhile: it sleeps mostly, and has to be in time on a busy machine.</summary>
    public static void Watch(Action work)
    {
        var tid = ThisProcess.ThreadId();
        lock (Watchers) Watchers.Add(tid);
        try
        {
            work();
        }
        finally
        {
            lock (Watchers) Watchers.Remove(tid);
        }
    }

    /// <summary>Whether a thread may have its value back once it was raised by one: by trial, on a thread of its own, as capabilities, limits and security modules have a say.</summary>
    public static bool MayBeLowered()
    {
        var may = false;
        var trial = new Thread(() =>
        {
            if (Of(0) is { } now and < Most) may = TrySet(0, now + 1) && TrySet(0, now);
        })
        { IsBackground = true, Name = "nice trial" };
        trial.Start();
        trial.Join();
        return may;
    }

    private static bool IsWatcher(int tid)
    {
        lock (Watchers) return Watchers.Contains(tid);
    }
}
