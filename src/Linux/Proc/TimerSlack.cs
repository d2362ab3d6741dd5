using System.Globalization;

namespace Crstore.Linux.Proc;

/// <summary>PR_SET_TIMERSLACK(2const): by how much a thread's timeouts may be late, so that the kernel can let several end together.</summary>
public static class TimerSlack
{
    private const int SmallFile = 4096;

    /// <summary>A thread's, in ns; null if it can't be told: another process's takes CAP_SYS_NICE. 0 of a real-time thread, which has none.</summary>
    /// <param name="proc">Its process's directory.</param>
    /// <param name="tid">It.</param>
    public static ulong? Get(ProcDirectory proc, int tid)
    {
        ArgumentNullException.ThrowIfNull(proc);
        // Not there below task/, but /proc/TID is a thread's own, too.
        if (proc.TryRead(string.Create(CultureInfo.InvariantCulture, $"../{tid}/timerslack_ns"), SmallFile, out var text) != 0) return null;
        var slack = 0UL;
        foreach (var digit in text)
        {
            if (digit is >= (byte)'0' and <= (byte)'9') slack = slack * 10 + (ulong)(digit - '0');
        }

        return slack;
    }
}
