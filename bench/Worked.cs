using System.Diagnostics;

namespace Crstore.Bench;

/// <summary>What a process got done in a window of time, and what the kernel counted of it meanwhile.</summary>
/// <param name="Units">By its own count.</param>
/// <param name="Seconds">The window.</param>
/// <param name="Account">Its processor time, and so on, in the window.</param>
internal sealed record Worked(long Units, double Seconds, ProcessorAccount Account)
{
    /// <summary>The capture in it.</summary>
    public Captured? Captured { get; private init; }

    /// <summary>The rest of the window, from the end of the capture's process on.</summary>
    public Worked? Behind { get; private init; }

    /// <summary>Units a second.</summary>
    public double Rate => Units / Seconds;

    /// <summary>Units for each second that it was on a processor.</summary>
    public double RateOfOwnTime => Units / (Account.RunNs / 1e9);

    /// <summary>Of the window, for how much it was ready and had no processor; threads added up.</summary>
    public double WaitShare => Account.WaitNs / 1e9 / Seconds;

    /// <summary>Of the window, for how much it was in the kernel.</summary>
    public double SystemShare => Account.SystemTicks / 100.0 / Seconds;

    /// <summary>A window with nothing in it.</summary>
    public static Worked During(int pid, Func<long> count, double seconds)
    {
        var start = Mark.Now(pid, count);
        Thread.Sleep(TimeSpan.FromSeconds(seconds));
        return start.Until(Mark.Now(pid, count));
    }

    /// <summary>A window that begins with a capture. It is as long as said, or as the capture and half a second.</summary>
    public static Worked Around(int pid, Func<long> count, double seconds, Func<Captured> capture)
    {
        var start = Mark.Now(pid, count);
        var captured = capture();
        var behind = Mark.Now(pid, count);
        Thread.Sleep(TimeSpan.FromSeconds(Math.Max(0.5, seconds - Stopwatch.GetElapsedTime(start.At, behind.At).TotalSeconds)));
        var end = Mark.Now(pid, count);
        return start.Until(end) with { Captured = captured, Behind = behind.Until(end) };
    }

    private sealed record Mark(long At, long Units, ProcessorAccount Account)
    {
        public static Mark Now(int pid, Func<long> count) => new(Stopwatch.GetTimestamp(), count(), ProcessorAccount.Of(pid));

        public Worked Until(Mark end) => new(end.Units - Units, Stopwatch.GetElapsedTime(At, end.At).TotalSeconds, end.Account - Account);
    }
}
