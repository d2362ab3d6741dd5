using System.Diagnostics;
using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture.Freezing;

/// <summary>
/// Stops every thread of a process, or of a process and its descendants. Parents before children: a stopped parent forks
/// no more, and a vfork parent can't stop before its child has gone on to exec. Passes are repeated until nothing that is there is unknown, with all that is known stopped.
/// </summary>
internal sealed class TreeFreezer(int rootPid, bool tree, FreezeOptions options, FreezeWatchdog watchdog)
{
    private readonly List<int> _order = [];
    private readonly Dictionary<int, Dictionary<int, Tracee>> _processes = [];
    private readonly SortedSet<int> _zombies = [];
    private readonly Dictionary<int, SlotArea?> _slotAreas = []; // looking for them takes longer than all else about a thread
    private long _deadline;

    /// <summary>When the first thread was told to stop, Stopwatch ticks; 0 before.</summary>
    public long Since { get; private set; }

    /// <summary>Zombies among the descendants.</summary>
    public IReadOnlyList<int> Zombies => [.. _zombies];

    /// <summary>Every thread that is attached, stopped or not.</summary>
    public IEnumerable<Tracee> Attached => _order.SelectMany(pid => _processes[pid].Values).Where(t => !t.Dead);

    /// <summary>The result, root first.</summary>
    public IReadOnlyList<FrozenProcess> Frozen => _order.ConvertAll(pid =>
    {
        // Of a leader that has exited nothing is left; the others by number.
        var threads = new List<FrozenThread>(_processes[pid].Count);
        foreach (var tracee in _processes[pid].Values)
            if (!tracee.Dead) threads.Add(new FrozenThread(tracee.Tid, tracee.GroupStopped) { ToldAt = tracee.ToldAt });
        threads.Sort((a, b) => a.Tid == b.Tid ? 0 : a.Tid == pid ? -1 : b.Tid == pid ? 1 : a.Tid.CompareTo(b.Tid));
        return new FrozenProcess(pid, threads);
    });

    /// <summary>
    /// Freezes. False if some thread didn't stop in time: <see cref="Attached"/> must then be let go, as after an exception.
    /// </summary>
    public bool Run(out string? stuck)
    {
        _deadline = StopWait.DeadlineIn(options.StopTimeout);
        AddProcess(rootPid);
        bool again;
        do
        {
            again = false;
            watchdog.ThrowIfExpired();
            foreach (var pid in _order) SeizeNewThreads(pid);
            if (!WaitForAll(out stuck)) return false;
            foreach (var pid in _order.ToArray()) again |= !IsComplete(pid);
            if (tree && !again) again = AddChildren();
        }
        while (again && (Stopwatch.GetTimestamp() < _deadline || Throw()));
        return true;

        bool Throw() => throw new TargetException(
            $"{TargetErrors.Name(rootPid)} makes threads or processes faster than they can be stopped ({options.StopTimeout.TotalSeconds} s)", "try again");
    }

    private void AddProcess(int pid)
    {
        if (pid == Environment.ProcessId)
            throw TargetErrors.Itself(pid, rootPid);
        _order.Add(pid);
        _processes.Add(pid, []);
    }

    /// <summary>Attaches to all threads not known yet, then tells them to stop: attaching alone doesn't hold them up.</summary>
    private void SeizeNewThreads(int pid)
    {
        var known = _processes[pid];
        var found = new List<Tracee>();
        foreach (var tid in TaskList.Threads(pid))
        {
            if (known.ContainsKey(tid)) continue;
            var tracee = new Tracee(pid, tid);
            var errno = Ptrace.TrySeize(tid, PtraceOptions.TraceSysGood);
            if (errno == 0) found.Add(tracee);
            else if (TargetErrors.Refused(pid, tid, errno) is { } refusal) throw refusal;
            else if (TaskStat.Read(pid, tid) is null) continue; // gone
            tracee.Dead = errno != 0;
            known.Add(tid, tracee);
        }
        if (found.Count > 0 && Since == 0)
        {
            Since = Stopwatch.GetTimestamp();
            watchdog.Start();
        }
        foreach (var tracee in found)
        {
            tracee.ToldAt = Stopwatch.GetTimestamp();
            _ = Ptrace.TryInterrupt(tracee.Tid); // ESRCH: it has died, and the wait will say so
        }
    }

    private bool WaitForAll(out string? stuck)
    {
        _slotAreas.Clear(); // an execve since
        var waiting = Attached.Where(t => !t.Stopped).ToList();
        var wait = new StopWait(_deadline);
        while (true)
        {
            waiting.RemoveAll(t => Advance(t) || (wait.IsSlow && IsExitedLeader(t)));
            stuck = null;
            if (waiting.Count == 0) return true;
            if (wait.IsSlow) watchdog.ThrowIfExpired();
            if (!wait.Again())
            {
                stuck = Describe(waiting[0]);
                return false;
            }
        }
    }

    /// <summary>Looks at a thread that was told to stop; true once it has, or is dead.</summary>
    private bool Advance(Tracee tracee)
    {
        var report = ChildWait.Poll(tracee.Tid, reap: true);
        switch (report.Kind)
        {
            case WaitKind.Nothing:
                SlotLeftovers.StopAgain(tracee);
                return false;
            case WaitKind.Dead or WaitKind.Unknown:
                // Unknown: a thread that ran execve took its leader's id.
                tracee.Dead = true;
                return true;
        }
        tracee.RunsUntil = 0;
        if (!report.IsEventStop)
        {
            // A signal came first. Let it be delivered, and stop behind it: at the first instruction of its handler. (Any
            // stop takes back the pending interrupt.) If it kills the target, then so it would have without us.
            if (Ptrace.TryInterrupt(tracee.Tid) == 0) _ = Ptrace.TryContinue(tracee.Tid, report.IsSignalDelivery ? report.Signal : 0);
            return false;
        }
        tracee.GroupStopped = report.IsGroupStop;
        try
        {
            if (!Ptrace.TryGetRegs(tracee.Tid, out var regs))
                throw TargetErrors.Is32Bit(tracee.Pid, tracee.Tid);
            if (SlotLeftovers.RunOutIfInside(tracee, regs.Rip, _slotAreas)) return false;
            StopFixer.Fix(tracee.Tid, regs);
            tracee.Stopped = true;
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.ESRCH)
        {
            return false; // killed just now: the next look tells
        }
        return true;
    }

    /// <summary>A leader that exits while other threads go on never reports anything.</summary>
    private static bool IsExitedLeader(Tracee tracee)
    {
        if (tracee.Pid != tracee.Tid || TaskStat.Read(tracee.Pid, tracee.Tid) is { IsDead: false }) return false;
        tracee.Dead = true;
        return true;
    }

    /// <summary>
    /// True if no thread of the process is unknown. The count is asked too, as a listing may skip a thread when another one
    /// exits at the same time. A process that has ended is dropped, the root's end is an error.
    /// </summary>
    private bool IsComplete(int pid)
    {
        var known = _processes[pid];
        var stat = TaskStat.Read(pid);
        if (stat is { IsDead: false } || known.Values.Any(t => !t.Dead))
        {
            // Dead threads are forgotten, so that a new one with the same id is seen; an exited leader stays in the count.
            foreach (var gone in known.Values.Where(t => t.Dead && t.Tid != pid).ToArray()) known.Remove(gone.Tid);
            return stat?.ThreadCount == known.Count && TaskList.Threads(pid).TrueForAll(known.ContainsKey);
        }
        if (pid == rootPid) throw TargetErrors.Died(pid);
        _processes.Remove(pid);
        _order.Remove(pid);
        if (stat is not null) _zombies.Add(pid);
        return true;
    }

    private bool AddChildren()
    {
        var found = false;
        foreach (var parent in _order.ToArray())
        {
            foreach (var child in TaskList.Children(parent))
            {
                if (_processes.ContainsKey(child) || TaskStat.Read(child) is not { } stat) continue;
                if (stat.IsDead && stat.ThreadCount <= 1)
                {
                    _zombies.Add(child);
                    continue;
                }
                AddProcess(child);
                found = true;
            }
        }
        return found;
    }

    private static string Describe(Tracee tracee)
    {
        var state = TaskStat.Read(tracee.Pid, tracee.Tid)?.State;
        var where = TaskFile.TryReadText($"/proc/{tracee.Pid}/task/{tracee.Tid}/wchan")?.Trim();
        return $"thread {tracee.Tid} of {TargetErrors.Name(tracee.Pid)} (state {state}{(string.IsNullOrEmpty(where) || where == "0" ? "" : $", in {where}")})";
    }
}
