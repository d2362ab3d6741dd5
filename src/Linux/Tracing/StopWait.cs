using System.Diagnostics;

namespace Crstore.Linux;

/// <summary>
/// Waits for ptrace stops by polling: a blocking wait could neither have a deadline nor see a leader that has exited.
/// Stops come within microseconds, so it yields the processor at first, for the thread that is waited for may need this very one, and sleeps only if it takes long: on a
/// busy machine who sleeps waits for milliseconds.
/// </summary>
public struct StopWait(long deadline)
{
    private const int Yields = 400;
    private int _rounds;

    /// <summary>A deadline that far from now, in Stopwatch ticks.</summary>
    public static long DeadlineIn(TimeSpan time) => Stopwatch.GetTimestamp() + (long)(time.TotalSeconds * Stopwatch.Frequency);

    /// <summary>It has taken long: time to look whether the thread can stop at all.</summary>
    public readonly bool IsSlow => _rounds > Yields;

    /// <summary>Pauses before the next look; false when the deadline has passed.</summary>
    public bool Again()
    {
        _rounds++;
        if (_rounds <= Yields) Pause.Yield();
        else Pause.Sleep(_rounds < Yields + 100 ? 50 : 500);
        return Stopwatch.GetTimestamp() < deadline;
    }

    /// <summary>The next stop or death of one tracee (a death is reaped); Nothing when the deadline has passed.</summary>
    public static WaitReport Next(int tid, long deadline)
    {
        var wait = new StopWait(deadline);
        while (true)
        {
            var report = ChildWait.Poll(tid, reap: true);
            if (report.Kind != WaitKind.Nothing || !wait.Again()) return report;
        }
    }
}
