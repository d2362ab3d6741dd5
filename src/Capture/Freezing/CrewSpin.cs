using System.Diagnostics;

namespace Crstore.Capture.Freezing;

/// <summary>
/// Waits, in a freeze, for what another thread of crstore is at. Half a millisecond without letting go of the processor: where others want it, sched_yield(2) gives it away for 2 ms, to whatever nice value,
/// and what is waited for takes less. The target needs none then. Afterwards as <see cref="SpinWait"/> does, for the other thread may need this very processor, and at last asleep.
/// </summary>
internal struct CrewSpin
{
    // Then a millisecond at a time: yielding does not give the processor to a thread of lower priority.
    private const int SpinsBeforeSleep = 20000;
    private const int PauseLength = 16; // a fraction of a microsecond
    private static readonly long Patience = Stopwatch.Frequency / 2000;

    private SpinWait _yields;
    private long _since;

    /// <summary>Waits a little; for longer the more often it is called.</summary>
    public void Once()
    {
        var now = Stopwatch.GetTimestamp();
        if (_since == 0) _since = now;
        if (now - _since < Patience) Thread.SpinWait(PauseLength);
        else _yields.SpinOnce(SpinsBeforeSleep);
    }
}
