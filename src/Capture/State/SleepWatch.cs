using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model.Format;
using Google.Protobuf;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Capture.State;

/// <summary>
/// How long the threads of a process have slept in calls with a relative timeout (<see cref="TimedCalls"/>), where it can be proved
/// (<see cref="SleepProof"/>). <see cref="Observe"/> right before a freeze, <see cref="ReadFrozen"/> in it, <see cref="Fill"/> or <see cref="Threads"/>
/// afterwards. What was found at an earlier freeze counts as long as the thread has not moved since.
/// </summary>
/// <param name="proc">The process.</param>
/// <param name="earlier">Its threads at an earlier freeze in this boot.</param>
/// <param name="clocks">To compare times of different processors.</param>
/// <param name="rehearsal">Any thread will do.</param>
internal sealed class SleepWatch(ProcDirectory proc, IReadOnlyList<Thread> earlier, ProcessorClocks clocks, bool rehearsal)
{
    private const int Limit = 16 * 1024;
    private const char Asleep = 'S';
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
            }
        }
        catch (LinuxException)
        {
            // It has exited, or may not be looked at: the freeze tells.
        }
    }

    /// <summary>In the freeze: of those that were seen asleep only, and little.</summary>
    /// <param name="frozenSince"><see cref="FrozenTree.FrozenSince"/>.</param>
    /// <param name="withStat">Nobody else reads their stat lines in this freeze.</param>
    public void ReadFrozen(long frozenSince, bool withStat)
    {
        foreach (var sleeper in _sleepers)
        {
            sleeper.FrozenNs = frozenSince; // Stopwatch counts nanoseconds of CLOCK_MONOTONIC
            if (proc.TryRead(sleeper.SchedPath, Limit, out var sched) == 0) sleeper.Frozen = sched.ToArray();
            if (withStat && proc.TryRead(Path(sleeper.Tid, "stat"), Limit, out var stat) == 0) sleeper.FrozenStat = stat.ToArray();
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
            if (Describe(sleeper) is { } sleep) yield return new Thread { Tid = sleeper.Tid, Stat = ByteString.CopyFrom(sleeper.Stat), Sleep = sleep };
        }
    }

    private Sleeper? Find(int tid)
    {
        foreach (var sleeper in _sleepers)
            if (sleeper.Tid == tid) return sleeper;
        return null;
    }

    // Should it go on meanwhile, then what is read of it belongs to different sleeps; the proof finds that out.
    private Sleeper? Look(int tid)
    {
        if (proc.TryRead(Path(tid, "syscall"), Limit, out var text) != 0 || SyscallLine.TryParse(text) is not { } call) return null;
        if (proc.TryRead(Path(tid, "sched"), Limit, out text) != 0 || SchedLines.TryParse(text) is not { } sched) return null;
        if (proc.TryRead(Path(tid, "stat"), Limit, out text) != 0) return null;
        return new Sleeper(tid, call, sched, text.ToArray()) { SchedPath = Path(tid, "sched") };
    }

    private InterruptedSleep? Describe(Sleeper sleeper)
    {
        var known = sleeper.Call.Number == TimedCalls.Restart ? Earlier(sleeper) : null;
        var sleep = new InterruptedSleep
        {
            ElapsedNs = (ulong)(Elapsed(sleeper, known) ?? 0),
            FrozenNs = (ulong)sleeper.FrozenNs,
            Call = sleeper.Call.Number == TimedCalls.Restart ? known?.Call ?? 0 : (uint)sleeper.Call.Number,
        };
        // By now it has gone back to its sleep. It is the old one if the kernel went on with it, for which it keeps the time at which it ends.
        if (Look(sleeper.Tid) is { Call.Number: TimedCalls.Restart } now && now.Call.StackPointer == sleeper.Call.StackPointer) sleep.Switches = now.Sched.Switches;
        return sleep.ElapsedNs > 0 || sleep.Switches > 0 ? sleep : null;
    }

    private long? Elapsed(Sleeper sleeper, InterruptedSleep? known)
    {
        var stat = StatLine.Parse(sleeper.Stat);
        if (stat.State != Asleep || sleeper.Frozen is not { } bytes || sleeper.FrozenStat is not { } line || SchedLines.TryParse(bytes) is not { } frozen) return null;
        if (!SleepProof.WentOnOnce(sleeper.Sched, frozen)) return null; // often so, and it spares the rest
        if (clocks.Offset(stat.Processor) is not { } slept || clocks.Offset(StatLine.Parse(line).Processor) is not { } stopped) return null;
        if (SleepProof.AsleepSince(sleeper.Sched, frozen, slept, stopped, sleeper.FrozenNs) is not { } since) return null;
        return known is null ? sleeper.FrozenNs - since : (long)known.ElapsedNs + sleeper.FrozenNs - (long)known.FrozenNs;
    }

    // What an earlier freeze found of the very sleep that the thread is in.
    private InterruptedSleep? Earlier(Sleeper sleeper)
    {
        var started = StatLine.Parse(sleeper.Stat).StartTime;
        foreach (var thread in earlier)
        {
            if (thread.Tid == sleeper.Tid && thread.Sleep is { } known && known.Switches == sleeper.Sched.Switches
                && known.FrozenNs <= (ulong)sleeper.FrozenNs && StatLine.Parse(thread.Stat.Span).StartTime == started) return known;
        }

        return null;
    }

    private static string Path(int tid, string file) => string.Create(CultureInfo.InvariantCulture, $"task/{tid}/{file}");

    private sealed class Sleeper(int tid, SyscallLine call, SchedLines sched, byte[] stat)
    {
        public int Tid { get; } = tid;

        public SyscallLine Call { get; } = call;

        public SchedLines Sched { get; } = sched;

        public byte[] Stat { get; } = stat;

        public required string SchedPath { get; init; }

        public long FrozenNs { get; set; }

        public byte[]? Frozen { get; set; }

        public byte[]? FrozenStat { get; set; }
    }
}
