using System.Diagnostics;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture.Freezing;

/// <summary>
/// A process, or a process and all its descendants, with every thread held in a ptrace stop. Disposing lets them go on, on
/// every path; so does the kernel if crstore ends in any way. Only on the ptrace thread, which has short time slices
/// meanwhile: where others want the processors it gets one back at once when it has slept.
/// </summary>
public sealed class FrozenTree : IDisposable
{
    private static readonly TimeSpan LetGoTimeout = TimeSpan.FromSeconds(1);
    private readonly FreezeWatchdog? _ownWatchdog;
    private long _until;

    private FrozenTree(TreeFreezer freezer, FreezeWatchdog watchdog, FreezeWatchdog? ownWatchdog)
    {
        Processes = freezer.Frozen;
        Zombies = freezer.Zombies;
        FrozenSince = freezer.Since;
        Watchdog = watchdog;
        _ownWatchdog = ownWatchdog;
    }

    /// <summary>Root first, parents before their children.</summary>
    public IReadOnlyList<FrozenProcess> Processes { get; }

    /// <summary>Descendants that have exited and were not reaped: nothing of them is left but an exit code.</summary>
    public IReadOnlyList<int> Zombies { get; }

    /// <summary>When the first thread was told to stop, <see cref="Stopwatch.GetTimestamp"/>.</summary>
    public long FrozenSince { get; }

    /// <summary>From the first thread stopped to the last one running again; up to now while it is frozen.</summary>
    public TimeSpan FrozenTime => Stopwatch.GetElapsedTime(FrozenSince, _until != 0 ? _until : Stopwatch.GetTimestamp());

    /// <summary>The limit on frozen time.</summary>
    public FreezeWatchdog Watchdog { get; }

    /// <summary>Freezes a process, with <paramref name="tree"/> all its descendants too.</summary>
    /// <exception cref="TargetException">Gone, refused (says why), 32-bit, or a thread that can't be stopped.</exception>
    /// <exception cref="FrozenTooLongException">The watchdog's limit was reached.</exception>
    public static FrozenTree Freeze(int pid, bool tree, FreezeOptions options)
    {
        CheckRoot(pid);
        var ownWatchdog = options.Watchdog is null ? new FreezeWatchdog(options.MaxFrozen) : null;
        var watchdog = options.Watchdog ?? ownWatchdog!;
        watchdog.Expect();
        TimeSlice.TrySet(TimeSlice.ShortestNs);
        try
        {
            for (var attempt = 1; ; attempt++)
            {
                var freezer = new TreeFreezer(pid, tree, options, watchdog);
                var done = false;
                var allFree = true;
                string? stuck = null;
                try
                {
                    done = freezer.Run(out stuck);
                    if (done) return new FrozenTree(freezer, watchdog, ownWatchdog);
                }
                finally
                {
                    if (!done)
                    {
                        watchdog.Stop(); // what can be let go is let go at once; only a stuck thread is waited for
                        allFree = LetGo(freezer.Attached.Select(t => t.Tid).ToArray());
                    }
                }

                // A thread that couldn't even be let go is still ours: a second attempt would only be told that it is traced already.
                if (attempt >= options.Attempts || !allFree)
                    throw new TargetException($"{stuck} did not stop within {options.StopTimeout.TotalSeconds} s",
                        "it sleeps uninterruptibly in the kernel (a disk or network file system, a vfork, a frozen cgroup); try again when that is over");
            }
        }
        catch (Exception e)
        {
            ownWatchdog?.Dispose();
            TimeSlice.TrySet(TimeSlice.DefaultNs);
            if (e is LinuxException linux) throw TargetErrors.From(linux, pid);
            throw;
        }
    }

    /// <summary>Lets everything go on. Nothing happens the second time.</summary>
    /// <param name="keepStopped">Leave every process in group-stop (SIGSTOP) instead: no user instruction runs in between.</param>
    public void Thaw(bool keepStopped = false)
    {
        if (_until != 0) return;
        TargetException? failure = null;
        try
        {
            if (keepStopped)
            {
                foreach (var process in Processes.Where(p => !p.WasStopped))
                {
                    var errno = Signals.TryKill(process.Pid, Signals.SIGSTOP);
                    if (errno is not (0 or Errno.ESRCH))
                        failure = new TargetException($"{TargetErrors.Name(process.Pid)} could not be kept stopped: kill(SIGSTOP): {Errno.Describe(errno)}");
                }
            }
        }
        finally
        {
            var tids = new List<int>();
            foreach (var process in Processes)
                foreach (var thread in process.Threads) tids.Add(thread.Tid);
            LetGo(tids);
            _until = Stopwatch.GetTimestamp();
            Watchdog.Stop();
            _ownWatchdog?.Dispose();
            TimeSlice.TrySet(TimeSlice.DefaultNs);
        }
        if (failure is not null) throw failure;
    }

    /// <summary>Lets everything go on, if <see cref="Thaw"/> hasn't.</summary>
    public void Dispose() => Thaw();

    /// <summary>
    /// Detaches. A thread that isn't stopped (killed meanwhile, or stuck on its way) is waited for a little; what still
    /// can't be detached is let go by the kernel when the ptrace thread ends; then this returns false.
    /// </summary>
    private static bool LetGo(IReadOnlyList<int> tids)
    {
        var left = new List<int>();
        foreach (var tid in tids)
            if (Ptrace.TryDetach(tid) != 0) left.Add(tid);
        var wait = new StopWait(StopWait.DeadlineIn(LetGoTimeout));
        while (left.Count > 0)
        {
            left.RemoveAll(TryLetGo);
            if (left.Count > 0 && !wait.Again()) return false;
        }

        return true;
    }

    private static bool TryLetGo(int tid)
    {
        var report = ChildWait.Poll(tid, reap: true);
        return report.Kind switch
        {
            WaitKind.Stopped => Ptrace.TryDetach(tid, report.IsSignalDelivery ? report.Signal : 0) == 0,
            WaitKind.Nothing => Ptrace.TryInterrupt(tid) != 0 && TaskStat.Read(tid) is not { IsDead: false },
            _ => true,
        };
    }

    /// <summary>Refuses what is no process that could be stopped.</summary>
    internal static void CheckRoot(int pid)
    {
        if (pid <= 0) throw new UsageException($"{pid} is not a process id");
        var status = TaskStatusFile.Read(pid) ?? throw TargetErrors.Gone(pid);
        if (status.ThreadGroup != pid)
            throw new TargetException($"{pid} is a thread of {TargetErrors.Name(status.ThreadGroup)}", $"give the process id {status.ThreadGroup}");
        if (TaskStat.Read(pid) is { IsDead: true, ThreadCount: <= 1 })
            throw TargetErrors.Exited(pid);
    }
}
