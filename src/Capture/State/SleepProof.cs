using Crstore.Linux.Proc;

namespace Crstore.Capture.State;

/// <summary>
/// Whether a thread that slept before the freeze was in the same sleep when the freeze came, so that it has slept since then. No one else tells: the
/// kernel writes what is left of a timeout for those only who asked for it.
/// </summary>
internal static class SleepProof
{
    // A processor's clock is the time stamp counter's, CLOCK_MONOTONIC is corrected besides: by half a thousandth at most (adjtimex(2)), as much again while it is slewed.
    private const long Drift = 1024;

    /// <summary>It was put on a processor once, to stop there: each further sleep would have taken it off once more.</summary>
    public static bool WentOnOnce(SchedLines before, SchedLines frozen) => frozen.Switches == before.Switches + 1;

    /// <summary>
    /// When the thread fell asleep, CLOCK_MONOTONIC, or somewhat later; null if it may have slept more than once since it was looked at.
    /// </summary>
    /// <param name="before">Of the thread before the freeze, asleep.</param>
    /// <param name="frozen">In the freeze.</param>
    /// <param name="slept">Of the clock of the processor that it ran on before: <see cref="ClockOffset.MostNs"/>, measured since.</param>
    /// <param name="stopped">Of the one that it was stopped on: to be sure, <see cref="ClockOffset.LeastNs"/>, measured before that.</param>
    /// <param name="toldNs">When it was told to stop, CLOCK_MONOTONIC.</param>
    public static long? AsleepSince(SchedLines before, SchedLines frozen, long slept, long stopped, long toldNs)
    {
        if (!WentOnOnce(before, frozen)) return null;
        // It may still have been about to begin another sleep just when it was told to stop. But then it was on the processor before that.
        var woken = frozen.LastRunNs + stopped - (frozen.RunNs - before.RunNs);
        if (woken < toldNs) return null;
        var asleep = before.LastRunNs + slept;
        return before.LastRunNs > 0 && asleep <= toldNs ? asleep + (toldNs - asleep) / Drift : null;
    }
}
