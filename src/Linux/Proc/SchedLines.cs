using System.Globalization;
using System.Text;

namespace Crstore.Linux.Proc;

/// <summary>
/// /proc/PID/task/TID/sched (kernel/sched/debug.c), of which no man page tells: when the thread ran last, how long in all, and how often it was taken off
/// its processor. The clock is that processor's (rq_clock_task): nanoseconds since boot, less what interrupts and the hypervisor have taken.
/// </summary>
/// <param name="LastRunNs">se.exec_start: of a thread that sleeps or is stopped, when it left the processor.</param>
/// <param name="RunNs">se.sum_exec_runtime: time on a processor.</param>
/// <param name="Switches">nr_switches, voluntary or not: counted when it leaves a processor.</param>
public sealed record SchedLines(long LastRunNs, long RunNs, ulong Switches)
{
    /// <summary>Null if the kernel's form of it is another one: nothing depends on it but what can be done without.</summary>
    public static SchedLines? TryParse(ReadOnlySpan<byte> file)
    {
        long? lastRun = null, run = null;
        ulong? switches = null;
        foreach (var line in Encoding.ASCII.GetString(file).Split('\n'))
        {
            var colon = line.LastIndexOf(':');
            if (colon < 0) continue;
            var value = line[(colon + 1)..].Trim();
            switch (line[..colon].Trim())
            {
                case "se.exec_start":
                    lastRun = Nanoseconds(value);
                    break;
                case "se.sum_exec_runtime":
                    run = Nanoseconds(value);
                    break;
                case "nr_switches":
                    switches = ulong.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var count) ? count : null;
                    break;
            }
        }

        return lastRun is { } left && run is { } ran && switches is { } times ? new SchedLines(left, ran, times) : null;
    }

    // Milliseconds with six decimals.
    private static long? Nanoseconds(string value)
    {
        var point = value.IndexOf('.', StringComparison.Ordinal);
        if (point < 0 || value.Length - point - 1 != 6) return null;
        return long.TryParse(value.Remove(point, 1), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
    }
}
