using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Proc;
using NativeThread = System.Threading.Thread;

namespace Crstore.Capture.State;

/// <summary>
/// The clocks of <see cref="SchedLines"/>: each processor has its own, which loses what interrupts and the hypervisor take. A thread of ours on that
/// processor tells how far it is behind CLOCK_MONOTONIC: as exec_start becomes now when a thread goes on, the clocks are read right after a short sleep.
/// Takes up to a millisecond for each: not for the freeze.
/// </summary>
internal sealed class ProcessorClocks
{
    private const int Tries = 5;
    private const long QuickNs = 100_000; // to read one clock after the other, so that a second look would gain little
    private readonly Dictionary<int, long?> _known = [];

    /// <summary>
    /// What to add to a processor's clock for CLOCK_MONOTONIC: some microseconds too much, never too little, so that what began then seems to have begun
    /// later. Null if crstore may not run there, or the kernel doesn't tell.
    /// </summary>
    public long? Offset(int processor)
    {
        if (_known.TryGetValue(processor, out var offset)) return offset;
        var thread = new NativeThread(() => offset = Measure(processor)) { IsBackground = true, Name = "clock" }; // its affinity ends with it
        thread.Start();
        thread.Join();
        _known.Add(processor, offset);
        return offset;
    }

    private static long? Measure(int processor)
    {
        var tid = ThisProcess.ThreadId();
        var mask = new byte[processor / 8 + 1];
        mask[processor / 8] = (byte)(1 << processor % 8);
        if (!CpuAffinity.TrySet(tid, mask)) return null;
        var path = string.Create(CultureInfo.InvariantCulture, $"/proc/self/task/{tid}/sched");
        long? least = null;
        for (var i = 0; i < Tries; i++)
        {
            Pause.Sleep(1);
            var awake = (long)SystemInfo.MonotonicNs();
            if (TaskFile.TryReadText(path) is not { } text || SchedLines.TryParse(System.Text.Encoding.ASCII.GetBytes(text)) is not { } now) return null;
            var read = (long)SystemInfo.MonotonicNs();
            var offset = read - now.LastRunNs;
            if (least is null || offset < least) least = offset;
            if (read - awake < QuickNs) break;
        }

        return least;
    }
}
