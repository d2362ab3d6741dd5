using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Restore.Restart.Lazy;

/// <summary>
/// Runs the threads whose memory is still being filled, from system call to system call: one that could give back, move or copy memory waits at its entry
/// until that is filled (<see cref="ReleasingCalls"/>). So nothing happens to a missing page but that it is touched, and no child is born with one. Being traced, the
/// processes die with crstore, and nobody else can look at what isn't there yet: a capture is refused. On the ptrace thread.
/// </summary>
/// <param name="memory">Theirs.</param>
/// <param name="guard">Ends when all is filled, or it has failed.</param>
/// <param name="filled">Set a moment before.</param>
/// <param name="waitPid">Crstore's child, whose end is theirs.</param>
/// <param name="cancel">Ends it.</param>
internal sealed class LazyTracer(LazyMemory memory, LazyGuard guard, ManualResetEventSlim filled, int waitPid, CancellationToken cancel)
{
    private readonly Dictionary<int, int> threads = []; // to the number of the space
    private readonly List<(ulong Start, ulong End)> ranges = [];

    /// <summary>How <c>waitPid</c> has ended meanwhile; null: it has not.</summary>
    public WaitReport? Ended { get; private set; }

    /// <summary>Lets a thread go, that far. It is in PTRACE_EVENT_STOP.</summary>
    /// <returns>0 or the errno.</returns>
    public int LetGo(Puppet puppet, LazySpace space)
    {
        threads.Add(puppet.Tid, IndexOf(space.Pid));
        return Ptrace.TryContinueToSyscall(puppet.Tid);
    }

    /// <summary>Returns when all is filled and they run by themselves, or when they are killed.</summary>
    public void Run()
    {
        try
        {
            var held = Trace();
            if (memory.Failure is null && !filled.IsSet) throw new EnvironmentException("the process that guards memory still to be filled was killed");
            if (memory.Failure is null)
            {
                memory.Release();
                Release(held);
                ChildWait.AwaitDeath(guard.Pid); // it ends by now, if it hasn't been waited for
                return;
            }
        }
        catch (Exception e)
        {
            memory.Fail(e);
        }

        End();
        memory.Release();
    }

    // Who still waits at the entry to a call, or 0.
    private int Trace()
    {
        while (!filled.IsSet) // those who stop all the time could hide the guard's death
        {
            var report = ChildWait.AwaitAny(out var tid);
            if (report.Kind == WaitKind.Unknown) return 0;
            if (report.Kind == WaitKind.Dead)
            {
                Bury(tid);
                if (tid == guard.Pid) return 0;
                continue;
            }

            if (!threads.ContainsKey(tid) && !TryAdopt(tid)) continue;
            if (report.IsSyscallStop && SyscallStop.TryGetEntry(tid, out var call))
            {
                var space = memory.Spaces[threads[tid]];
                var effect = ReleasingCalls.Of(call, tid, space, ranges);
                if (effect == Effect.OfRange)
                {
                    foreach (var (start, end) in ranges) space.Settle(start, end, cancel);
                }
                else if (effect == Effect.OfAll)
                {
                    filled.Wait(CancellationToken.None); // or failed
                    return tid;
                }
            }

            GoOn(tid, report);
        }

        return 0;
    }

    // ESRCH, here and below: it was killed in the moment, which is told next.
    private void GoOn(int tid, WaitReport report)
    {
        if (report.IsBirth && Born(tid) is var born and not 0 && !threads.ContainsKey(born)) TryAdopt(born);
        if (report.IsGroupStop) Ptrace.TryListen(tid);
        else Ptrace.TryContinueToSyscall(tid, report.IsSignalDelivery ? report.Signal : 0);
    }

    private static int Born(int tid)
    {
        try
        {
            return Ptrace.GetEventMessage(tid);
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.ESRCH)
        {
            return 0;
        }
    }

    // False: it is gone, which is told next.
    private bool TryAdopt(int tid)
    {
        if (TaskStatusFile.Read(tid)?.ThreadGroup is not { } process) return false;
        var index = IndexOf(process);
        if (index < 0) throw new EnvironmentException($"process {process} was born with memory that is still to be filled");
        threads[tid] = index;
        return true;
    }

    private int IndexOf(int pid)
    {
        for (var i = 0; i < memory.Spaces.Count; i++)
            if (memory.Spaces[i].Pid == pid) return i;
        return -1;
    }

    private void Bury(int tid)
    {
        var report = ChildWait.Poll(tid, reap: true);
        threads.Remove(tid);
        if (tid == waitPid) Ended = report;
    }

    // Stops all that run where the kernel can go on as if nothing had been, and lets them go for good.
    private void Release(int held)
    {
        // Not interrupted: the call would end before it has begun. It may be an exec: the other threads then vanish without a word, and the first one's id is its own.
        threads.Remove(held);
        foreach (var tid in threads.Keys) Ptrace.TryInterrupt(tid);
        while (threads.Count > 0)
        {
            var idle = true;
            foreach (var tid in (List<int>)[.. threads.Keys]) idle &= !TryRelease(tid);
            if (idle) Thread.Sleep(1);
        }

        if (held != 0) Ptrace.TryDetach(held);
    }

    // False: it hasn't stopped yet. Nobody waits for any of them: whom that would find first is always the one who is held.
    private bool TryRelease(int tid)
    {
        var report = ChildWait.Poll(tid);
        switch (report.Kind)
        {
            case WaitKind.Nothing:
                // One that was let go has begun another program, and has the first thread's id by now: nobody traces it.
                return !IsTraced(tid) && threads.Remove(tid);
            case WaitKind.Unknown:
                // Or it has begun it before it could be let go: it still is to be, by the first thread's id.
                threads.Remove(tid, out var index);
                if (memory.Spaces[index].Pid is var first && IsTraced(first)) threads.TryAdd(first, index);
                return true;
            case WaitKind.Dead:
                Bury(tid);
                return true;
        }

        if (report.IsEventStop)
        {
            if (!report.IsGroupStop) HideInterruption(tid);
            threads.Remove(tid);
            Ptrace.TryDetach(tid);
            return true;
        }

        if (report.IsBirth && Born(tid) is var born and not 0) threads.TryAdd(born, threads[tid]);
        Ptrace.TryInterrupt(tid); // once more: any stop has cleared what was asked for before it
        Ptrace.TryContinue(tid, report.IsSignalDelivery ? report.Signal : 0);
        return true;
    }

    // By this thread, which is whom TracerPid names: proc_pid_status(5).
    private static bool IsTraced(int tid) => TaskStatusFile.Read(tid)?.TracerPid == ThisProcess.ThreadId();

    private static void HideInterruption(int tid)
    {
        try
        {
            if (Ptrace.TryGetRegs(tid, out var regs) && InterruptedCall.Repeat(ref regs)) Ptrace.SetRegs(tid, regs);
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.ESRCH)
        {
            // It was killed.
        }
    }

    private void End()
    {
        guard.End();
        ThisProcess.AdoptOrphans(true); // their ids are free again when this returns
        try
        {
            for (var wait = new StopWait(StopWait.DeadlineIn(TimeSpan.FromSeconds(10))); ;)
            {
                var any = false;
                foreach (var tid in (List<int>)[.. threads.Keys, .. memory.Spaces.Select(s => s.Pid), guard.Pid])
                {
                    var report = ChildWait.Poll(tid, reap: true);
                    if (report.Kind == WaitKind.Dead && tid == waitPid) Ended = report;
                    if (report.Kind is WaitKind.Dead or WaitKind.Unknown) threads.Remove(tid);
                    else any = true;
                }

                if (!any || !wait.Again()) return;
            }
        }
        finally
        {
            ThisProcess.AdoptOrphans(false);
        }
    }
}
