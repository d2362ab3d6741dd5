using System.Diagnostics;
using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Proc;
using NativeThread = System.Threading.Thread;

namespace Crstore.Capture.State;

/// <summary>What to add to a processor's clock for CLOCK_MONOTONIC.</summary>
/// <param name="LeastNs">At least.</param>
/// <param name="MostNs">At most.</param>
internal sealed record ClockOffset(long LeastNs, long MostNs);

/// <summary>
/// The clocks of <see cref="SchedLines"/>: each processor has its own, which loses what interrupts and the hypervisor take. A thread of ours on that
/// processor tells how far it is behind CLOCK_MONOTONIC: its exec_start becomes now when it asks for its own processor time. What a clock loses later
/// makes it later than <see cref="ClockOffset.LeastNs"/> says, never earlier; so it is measured right before a freeze. Not in it: 0.1 ms for each.
/// </summary>
internal sealed class ProcessorClocks
{
    private const int Tries = 3;
    private static readonly TimeSpan TimeForOthers = TimeSpan.FromMilliseconds(5);
    private readonly Dictionary<int, ClockOffset> _before = [], _now = [];
    private readonly List<int> _wanted = [];

    /// <summary>A thread sleeps that ran on this processor last: <see cref="Measure"/> is to measure it.</summary>
    public void Want(int processor)
    {
        if (!_wanted.Contains(processor)) _wanted.Add(processor);
    }

    /// <summary>Measures those that are wanted, and the others as far as time allows: a thread may be stopped on another one than it slept on.</summary>
    public void Measure()
    {
        _before.Clear();
        _now.Clear();
        if (_wanted.Count == 0) return;
        OnThread(self =>
        {
            var began = Stopwatch.GetTimestamp();
            var allowed = CpuAffinity.Get(ThisProcess.ThreadId());
            for (var processor = 0; processor < allowed.Length * 8 && Stopwatch.GetElapsedTime(began) < TimeForOthers; processor++)
                if ((allowed[processor / 8] & 1 << processor % 8) != 0 && !_wanted.Contains(processor)) MeasureOne(processor, self, _before);
            foreach (var processor in _wanted) MeasureOne(processor, self, _before); // last: the sooner before the freeze, the better
        });
        _wanted.Clear();
    }

    /// <summary>As <see cref="Measure"/> found it; null if crstore may not run there, or the kernel doesn't tell.</summary>
    public ClockOffset? Before(int processor) => _before.GetValueOrDefault(processor);

    /// <summary>Measured now, after the freeze, or earlier since then.</summary>
    public ClockOffset? Now(int processor)
    {
        if (!_now.ContainsKey(processor)) OnThread(self => MeasureOne(processor, self, _now));
        return _now.GetValueOrDefault(processor);
    }

    private static void OnThread(Action<ProcDirectory> measure)
    {
        var thread = new NativeThread(Run) { IsBackground = true, Name = "clocks" }; // its affinity ends with it
        thread.Start();
        thread.Join();

        void Run()
        {
            try
            {
                using var self = ProcDirectory.Open(Environment.ProcessId);
                measure(self);
            }
            catch (LinuxException)
            {
                // Nothing is known of the rest then: timeouts begin anew.
            }
        }
    }

    private static void MeasureOne(int processor, ProcDirectory self, Dictionary<int, ClockOffset> found)
    {
        var tid = ThisProcess.ThreadId();
        var mask = new byte[processor / 8 + 1];
        mask[processor / 8] = (byte)(1 << processor % 8);
        if (!CpuAffinity.TrySet(tid, mask)) return;
        var path = string.Create(CultureInfo.InvariantCulture, $"task/{tid}/sched");
        var (least, most) = (long.MinValue, long.MaxValue);
        for (var i = 0; i < Tries; i++)
        {
            var before = (long)SystemInfo.MonotonicNs();
            _ = ThisProcess.ThreadCpuTime();
            if (self.TryRead(path, SleepWatch.Limit, out var text) != 0) return;
            var after = (long)SystemInfo.MonotonicNs();
            if (SchedLines.TryParse(text) is not { } now) return;
            least = Math.Max(least, before - now.LastRunNs);
            most = Math.Min(most, after - now.LastRunNs);
        }

        if (least <= most) found[processor] = new ClockOffset(least, most);
    }
}
