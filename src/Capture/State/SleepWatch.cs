using System.Diagnostics;
using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model.Format;
using Crstore.Objects.Processes;
using Google.Protobuf;
using Process = Crstore.Model.Format.Process;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Capture.State;

/// <summary>
/// How long the threads of a process have slept in calls with a relative timeout (<see cref="TimedCalls"/>), where it can be proved
/// (<see cref="SleepProof"/>). <see cref="Observe"/> right before a freeze, <see cref="ReadFrozen"/> in it, <see cref="Fill"/> or <see cref="Threads"/>
/// afterwards. What was found at an earlier freeze counts as long as the thread has not moved since.
///
/// Calls that the thread makes again after the freeze (<see cref="RepeatedWait"/>) get what is left of their timeout there, so that being captured again and
/// again prolongs none: their registers then say all, in the checkpoint too.
/// </summary>
/// <param name="pid">The process.</param>
/// <param name="proc">Its directory.</param>
/// <param name="earlier">Its threads at an earlier freeze in this boot.</param>
/// <param name="clocks">To compare times of different processors.</param>
/// <param name="rehearsal">Any thread will do.</param>
internal sealed class SleepWatch(int pid, ProcDirectory proc, IReadOnlyList<Thread> earlier, ProcessorClocks clocks, bool rehearsal)
{
    /// <summary>More than any of the files that are read has.</summary>
    public const int Limit = 16 * 1024;

    private const char Asleep = 'S';
    private const ulong RestartNoHandler = unchecked((ulong)-514); // -ERESTARTNOHAND, linux/errno.h: as StopFixer leaves it
    private readonly List<Sleeper> _sleepers = [];

    /// <summary>Looks for threads that sleep so. While the process runs.</summary>
    public void Observe()
    {
        _sleepers.Clear();
        try
        {
            foreach (var tid in proc.Numbers("task"))
            {
                if (Look(tid) is not { } sleeper || !(rehearsal || TimedCalls.IsOne(sleeper.Call))) continue;
                _sleepers.Add(sleeper);
                clocks.Want(sleeper.Stat.Processor);
            }

            FindRepeated();
        }
        catch (LinuxException)
        {
            // It has exited, or may not be looked at: the freeze tells.
        }
    }

    /// <summary>In the freeze, before any registers are read: of those that were seen asleep only, and little.</summary>
    /// <param name="process">It.</param>
    /// <param name="withStat">Nobody else reads their stat lines in this freeze.</param>
    public void ReadFrozen(FrozenProcess process, bool withStat)
    {
        var at = 0;
        foreach (var sleeper in _sleepers)
        {
            if (ToldAt(process.Threads, sleeper.Tid, ref at) is not { } told) continue;
            sleeper.FrozenNs = told; // Stopwatch counts nanoseconds of CLOCK_MONOTONIC
            if (proc.TryRead(sleeper.SchedPath, Limit, out var sched) == 0) sleeper.Frozen = sched.ToArray();
            if ((withStat || sleeper.Repeated) && proc.TryRead(sleeper.StatPath, Limit, out var stat) == 0) sleeper.FrozenStat = stat.ToArray();
            if (sleeper.Repeated) Shorten(sleeper);
        }
    }

    /// <summary>After the thaw: says of the threads of a process what was found.</summary>
    public void Fill(Process message)
    {
        if (rehearsal) return;
        foreach (var thread in message.Threads)
        {
            var registers = UserRegs.FromBytes(thread.Registers.Span);
            if (Find(thread.Tid) is not { } sleeper || registers.OrigRax != sleeper.Call.Number || registers.Rsp != sleeper.Call.StackPointer) continue;
            sleeper.FrozenStat = thread.Stat.ToByteArray();
            thread.Sleep = Describe(sleeper);
        }
    }

    /// <summary>After the thaw of a freeze that read no more than this: its findings for the next one.</summary>
    public IEnumerable<Thread> Threads()
    {
        foreach (var sleeper in _sleepers)
        {
            if (Describe(sleeper) is { } sleep) yield return new Thread { Tid = sleeper.Tid, Stat = ByteString.CopyFrom(sleeper.StatText), Sleep = sleep };
        }
    }

    private Sleeper? Find(int tid)
    {
        foreach (var sleeper in _sleepers)
            if (sleeper.Tid == tid) return sleeper;
        return null;
    }

    // Which of them make their call again, and may be given what is left.
    private void FindRepeated()
    {
        List<MapsEntry>? maps = null;
        foreach (var sleeper in _sleepers)
        {
            if (!RepeatedWait.IsOne(sleeper.Call.Number) && !rehearsal) continue;
            if (maps is null) new MapsParser().ReadMaps(pid, maps = []);
            sleeper.Repeated = rehearsal || maps.Exists(m => m.Start <= sleeper.Call.ProgramCounter && sleeper.Call.ProgramCounter < m.End && RepeatedWait.IsCLibrary(m.Name));
        }
    }

    // Both lists are in much the same order.
    private static long? ToldAt(IReadOnlyList<FrozenThread> threads, int tid, ref int at)
    {
        for (var seen = 0; seen < threads.Count; seen++, at++)
        {
            if (at >= threads.Count) at = 0;
            if (threads[at].Tid == tid) return threads[at].ToldAt;
        }

        return null;
    }

    // Less what has passed up to now: the kernel makes the call again in a moment. If a signal's handler comes first, the call gives EINTR, whatever its timeout is.
    private void Shorten(Sleeper sleeper)
    {
        var since = AsleepSince(sleeper, thawed: false);
        if (since is null && !rehearsal) return;
        try
        {
            if (!Ptrace.TryGetRegs(sleeper.Tid, out var regs)) return;
            var same = regs.Rax == RestartNoHandler && regs.OrigRax == sleeper.Call.Number && regs.Rip == sleeper.Call.ProgramCounter && regs.Rsp == sleeper.Call.StackPointer;
            if (same && since is { } began)
            {
                regs.R10 = (ulong)RepeatedWait.Less((int)regs.R10, (ulong)Math.Max(0, Stopwatch.GetTimestamp() - began));
                sleeper.Shortened = true;
            }

            if (sleeper.Shortened || rehearsal) Ptrace.SetRegs(sleeper.Tid, regs);
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.ESRCH)
        {
            // Killed just now: who reads its registers tells.
        }
    }

    // Should it go on meanwhile, then what is read of it belongs to different sleeps; the proof finds that out.
    private Sleeper? Look(int tid)
    {
        if (proc.TryRead(Path(tid, "syscall"), Limit, out var text) != 0 || SyscallLine.TryParse(text) is not { } call) return null;
        if (proc.TryRead(Path(tid, "sched"), Limit, out text) != 0 || SchedLines.TryParse(text) is not { } sched) return null;
        if (proc.TryRead(Path(tid, "stat"), Limit, out text) != 0) return null;
        var stat = text.ToArray();
        var waits = call.Number == TimedCalls.Restart && proc.TryRead(Path(tid, "wchan"), Limit, out text) == 0 ? TimedCalls.Restarted(call, text) : 0;
        return new Sleeper(tid, call, sched, stat) { SchedPath = Path(tid, "sched"), StatPath = Path(tid, "stat"), Restarted = waits };
    }

    private InterruptedSleep? Describe(Sleeper sleeper)
    {
        var known = sleeper.Call.Number == TimedCalls.Restart ? Earlier(sleeper) : null;
        var sleep = new InterruptedSleep
        {
            ElapsedNs = (ulong)(Elapsed(sleeper, known) ?? 0),
            FrozenNs = (ulong)sleeper.FrozenNs,
            Call = sleeper.Call.Number == TimedCalls.Restart ? known?.Call ?? sleeper.Restarted : (uint)sleeper.Call.Number,
        };
        // By now it has gone back to its sleep. It is the old one if the kernel went on with it, for which it keeps the time at which it ends.
        if (Look(sleeper.Tid) is { Call.Number: TimedCalls.Restart } now && now.Call.StackPointer == sleeper.Call.StackPointer) sleep.Switches = now.Sched.Switches;
        return sleep.ElapsedNs > 0 || sleep.Switches > 0 || sleeper.Restarted > 0 ? sleep : null;
    }

    // In the freeze the processors' clocks may have lost some microseconds since they were measured, and then nothing is proved; afterwards that counts for the proof.
    private long? AsleepSince(Sleeper sleeper, bool thawed)
    {
        if (sleeper.Stat.State != Asleep || sleeper.Frozen is not { } bytes || sleeper.FrozenStat is not { } line || SchedLines.TryParse(bytes) is not { } frozen) return null;
        if (!SleepProof.WentOnOnce(sleeper.Sched, frozen)) return null; // often so, and it spares the rest
        var stoppedOn = StatLine.Parse(line).Processor;
        if (clocks.Before(sleeper.Stat.Processor) is not { } slept || (thawed ? clocks.Now(stoppedOn) : clocks.Before(stoppedOn)) is not { } stopped) return null;
        return SleepProof.AsleepSince(sleeper.Sched, frozen, slept.MostNs, thawed ? stopped.MostNs : stopped.LeastNs, sleeper.FrozenNs);
    }

    private long? Elapsed(Sleeper sleeper, InterruptedSleep? known)
    {
        if (sleeper.Shortened || AsleepSince(sleeper, thawed: true) is not { } since) return null;
        return known is null ? sleeper.FrozenNs - since : (long)known.ElapsedNs + sleeper.FrozenNs - (long)known.FrozenNs;
    }

    // What an earlier freeze found of the very sleep that the thread is in.
    private InterruptedSleep? Earlier(Sleeper sleeper)
    {
        foreach (var thread in earlier)
        {
            if (thread.Tid == sleeper.Tid && thread.Sleep is { } known && known.Switches == sleeper.Sched.Switches
                && known.FrozenNs <= (ulong)sleeper.FrozenNs && StatLine.Parse(thread.Stat.Span).StartTime == sleeper.Stat.StartTime) return known;
        }

        return null;
    }

    private static string Path(int tid, string file) => string.Create(CultureInfo.InvariantCulture, $"task/{tid}/{file}");

    private sealed class Sleeper(int tid, SyscallLine call, SchedLines sched, byte[] stat)
    {
        public int Tid { get; } = tid;

        public SyscallLine Call { get; } = call;

        public SchedLines Sched { get; } = sched;

        public byte[] StatText { get; } = stat;

        public StatLine Stat { get; } = StatLine.Parse(stat);

        public required string SchedPath { get; init; }

        public required string StatPath { get; init; }

        /// <summary>If it was interrupted before: the call that the kernel goes on with. 0: that is not known.</summary>
        public uint Restarted { get; init; }

        /// <summary>The C library has made a call that begins anew with the timeout in its register.</summary>
        public bool Repeated { get; set; }

        /// <summary>That register has what is left of it.</summary>
        public bool Shortened { get; set; }

        public long FrozenNs { get; set; }

        public byte[]? Frozen { get; set; }

        public byte[]? FrozenStat { get; set; }
    }
}
