using System.Globalization;
using System.Text;

namespace Crstore.Linux.Proc;

/// <summary>/proc/PID/timens_offsets, time_namespaces(7): what the time namespace of a process adds to the host's clocks.</summary>
public static class ClockOffsets
{
    private const int SmallFile = 4096;
    private const long NsPerSecond = 1_000_000_000;

    /// <summary>Of this process.</summary>
    public static (long MonotonicNs, long BoottimeNs) OfSelf()
    {
        using var self = ProcDirectory.Open(Environment.ProcessId);
        return Of(self);
    }

    /// <summary>What the host's clocks show when this process sees that.</summary>
    public static (ulong MonotonicNs, ulong BoottimeNs) ToHost((ulong MonotonicNs, ulong BoottimeNs) seen)
    {
        var own = OfSelf();
        return (seen.MonotonicNs - (ulong)own.MonotonicNs, seen.BoottimeNs - (ulong)own.BoottimeNs);
    }

    /// <summary>Nanoseconds; 0 in the host's namespace, or where there are none.</summary>
    public static (long MonotonicNs, long BoottimeNs) Of(ProcDirectory proc)
    {
        ArgumentNullException.ThrowIfNull(proc);
        (long MonotonicNs, long BoottimeNs) found = default;
        if (proc.TryRead("timens_offsets", SmallFile, out var text) != 0) return found;
        foreach (var line in Encoding.ASCII.GetString(text).Split('\n'))
        {
            if (line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is not [var clock, var seconds, var rest]) continue;
            var ns = long.Parse(seconds, CultureInfo.InvariantCulture) * NsPerSecond + long.Parse(rest, CultureInfo.InvariantCulture);
            if (clock == "monotonic") found.MonotonicNs = ns;
            if (clock == "boottime") found.BoottimeNs = ns;
        }

        return found;
    }
}
