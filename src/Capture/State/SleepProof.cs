using Crstore.Linux.Proc;

namespace Crstore.Capture.State;

/// <summary>
/// Whether a thread that slept before the freeze was in the same sleep when the freeze came, so that it has slept since then. No one else tells: the
/// kernel writes what is left of a timeout for those only who asked for it.
/// </summary>
internal static class SleepProof
{
    /// <summary>It was put on a processor once, to stop there: each further sleep would have taken it off once more.</summary>
    public static bool WentOnOnce(SchedLines before, SchedLines frozen) => frozen.Switches == before.Switches + 1;

    /// <summary>
    /// When the thread fell asleep, CLOCK_MONOTONIC, or somewhat later; null if it may have slept more than once since it was looked at.
    /// </summary>
    /// <param name="before">Of the thread before the freeze, asleep.</param>
    /// <param name="frozen">In the freeze.</param>
    /// <param name="sleptOffset">Of the clock of the processor that it ran on before (<see cref="ProcessorClocks"/>).</param>
    /// <param name="stoppedOffset">Of the one that it was stopped on.</param>
    /// <param name="frozenNs">When the freeze told it to stop, CLOCK_MONOTONIC.</param>
    public static long? AsleepSince(SchedLines before, SchedLines frozen, long sleptOffset, long stoppedOffset, long frozenNs)
    {
        if (!WentOnOnce(before, frozen)) return null;
        // It may still have been about to begin another sleep just when it was told to stop. But then it was on the processor before that.
        var woken = frozen.LastRunNs + stoppedOffset - (frozen.RunNs - before.RunNs);
        if (woken < frozenNs) return null;
        var asleep = before.LastRunNs + sleptOffset;
        return before.LastRunNs > 0 && asleep <= frozenNs ? asleep : null;
    }
}
