using System.Diagnostics;

namespace Crstore.Capture;

/// <summary>
/// Whether one more round over running processes is worth the freeze that it begins with. That costs a walk over their page tables, twice:
/// there and in the freeze that follows. What it saves is copying what was written up to it. A target that writes as fast as it can is given up.
/// </summary>
public sealed class RoundPolicy(CaptureOptions options)
{
    /// <summary>Bytes of a process that is new to its tracker from which on a round pays: some 20 ms of copying.</summary>
    public const long BaseBytes = 64L << 20;

    /// <summary>Bytes to copy from which on it does otherwise.</summary>
    public const long LeastBytes = 24L << 20;

    /// <summary>And as much for so many bytes that have to be walked over.</summary>
    public const long WalkedPerByte = 64;

    /// <summary>Faster than that nothing is read from a running target while it is written to: half of what is usual.</summary>
    public const long HopelessBytesPerSecond = 512L << 20;

    private static readonly TimeSpan LeastWatch = TimeSpan.FromMilliseconds(15), FirstLook = TimeSpan.FromMilliseconds(3), LongFirstLook = TimeSpan.FromMilliseconds(10);
    private const double WatchedBytesPerSecond = 20e9; // what is read of a running process takes at least four times as long
    private static readonly TimeSpan MostWatch = TimeSpan.FromSeconds(0.5); // Ctrl-C waits for it
    private static readonly TimeSpan MostLate = TimeSpan.FromSeconds(0.5); // in which a slow writer doesn't get round

    /// <summary>Share of what a round would read that makes it needless.</summary>
    public const double NearlyAll = 0.75;

    private long _last;
    private long _since;
    private bool _lastWasBase;

    /// <summary>Rounds so far.</summary>
    public int Done { get; private set; }

    /// <summary>After a refusal: what the freeze may well find written, if the target has been given up; else 0, and what was written is a good guess.</summary>
    public long GivenUpBytes { get; private set; }

    /// <summary>Asked before every round.</summary>
    /// <param name="bytes">What would have to be copied now, of what a tracker can watch.</param>
    /// <param name="walked">What its freeze would have to look at.</param>
    /// <param name="isBase">Nothing of it can be kept so far.</param>
    public bool IsWorthAnother(long bytes, long walked, bool isBase) => IsWorthAnother(bytes, walked, isBase, Stopwatch.GetElapsedTime(_since));

    /// <summary>The same, the time since the last round began given.</summary>
    public bool IsWorthAnother(long bytes, long walked, bool isBase, TimeSpan sinceLast)
    {
        if (options.PreCopy == PreCopyPolicy.Never) return false;
        var isMuch = bytes >= (isBase ? BaseBytes : LeastBytes + walked / WalkedPerByte);
        if (Done == 0) return isMuch || options.PreCopy == PreCopyPolicy.Always;
        // A quarter: protecting and reading what was written costs nearly half of what copying it in the freeze does. The first round over a
        // base takes seconds, and much is written in seconds: the next one is shorter.
        var converges = bytes <= _last / 4 || (_lastWasBase && bytes / sinceLast.TotalSeconds <= HopelessBytesPerSecond);
        GivenUpBytes = isMuch && !converges && !_lastWasBase ? Math.Max(_last, bytes) : 0;
        return isMuch && converges && Done < options.MaxRounds;
    }

    /// <summary>How long to look at what the target writes before the first round, for so many bytes that it would read; and after what time it may be left at that, if nothing has changed.</summary>
    /// <param name="bytes">What the round would read.</param>
    /// <param name="maySnapshot">As in <see cref="IsHopeless"/>: one that writes a little in a long time counts as well.</param>
    public static (TimeSpan Whole, TimeSpan First) WatchTime(long bytes, bool maySnapshot) =>
        (TimeSpan.FromTicks(Math.Min(MostWatch.Ticks, (LeastWatch + TimeSpan.FromSeconds(bytes / WatchedBytesPerSecond)).Ticks)), maySnapshot ? LongFirstLook : FirstLook);

    /// <summary>After the first look: at twice that rate to the end of the whole time it would be far from being for nothing, so nothing more has to be seen.</summary>
    /// <param name="bytes">What the round would read.</param>
    /// <param name="written">How much of that has been changed in <paramref name="time"/>.</param>
    /// <param name="time">So far.</param>
    /// <param name="whole">That it would be looked at.</param>
    /// <param name="maySnapshot">As in <see cref="IsHopeless"/>: then the rate itself counts, and has to be known better.</param>
    public static bool IsPlain(long bytes, long written, TimeSpan time, TimeSpan whole, bool maySnapshot) =>
        written == 0 || (!maySnapshot && 2 * written * (whole / time) < NearlyAll * bytes);

    /// <summary>
    /// Asked before the first round: whether it would be for nothing, since the target writes to it all again meanwhile. <see cref="GivenUpBytes"/> is set then.
    /// </summary>
    /// <param name="bytes">What it would read.</param>
    /// <param name="written">How much of that has been changed in <paramref name="time"/>.</param>
    /// <param name="time">If it is much longer than <see cref="WatchTime"/>, on a busy machine, the round may have been done sooner.</param>
    /// <param name="isBase">Nothing can be kept so far: the round takes seconds.</param>
    /// <param name="maySnapshot">There is something better than copying all of it in the freeze, so that a guess is enough.</param>
    /// <param name="wasHot">It was found written everywhere in the last capture as well (<see cref="Tracking.HotMemory"/>): then a look that came late by up to half a second is believed too. A round would protect it all, and what is known of it would have to be found out anew.</param>
    public bool IsHopeless(long bytes, long written, TimeSpan time, bool isBase, bool maySnapshot, bool wasHot = false)
    {
        var tooFast = written / time.TotalSeconds >= (isBase ? HopelessBytesPerSecond : 2 * HopelessBytesPerSecond);
        var inTime = time <= 2 * WatchTime(bytes, maySnapshot).Whole + (wasHot ? MostLate : TimeSpan.Zero);
        if (!(inTime && written >= NearlyAll * bytes) && !(maySnapshot && tooFast)) return false;
        GivenUpBytes = bytes;
        return true;
    }

    /// <summary>A round begins.</summary>
    public void Begin(long bytes, bool isBase)
    {
        Done++;
        (_last, _lastWasBase, _since) = (bytes, isBase, Stopwatch.GetTimestamp());
    }
}
