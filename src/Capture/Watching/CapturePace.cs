namespace Crstore.Capture.Watching;

/// <summary>
/// When the next of many captures is due. Ticks lie on a grid, so that a capture that takes a while does not shift all that follow. One that is
/// late is made as soon as others had their turn; those that passed meanwhile are missed. All times count from the start of the watch.
/// </summary>
/// <param name="every">Distance of the ticks; null: there are none.</param>
/// <param name="maxShare">Of the time, what captures may cost the target: the pause after each is long enough for that. Null: no limit.</param>
public sealed class CapturePace(TimeSpan? every, double? maxShare)
{
    private static readonly TimeSpan OthersTurn = TimeSpan.FromMilliseconds(15); // LockWait tries every ten at least

    private TimeSpan _origin;
    private long _next;

    /// <summary>The next tick; null if there are none.</summary>
    public TimeSpan? NextTick => every is { } distance ? _origin + _next * distance : null;

    /// <summary>
    /// No capture before this, whatever asks for it: the share; and after each capture others who wait for the series or the target get their turn (but not
    /// more than a quarter of the time that it took). Locks that are taken again at once would keep those who try them now and then out for ever.
    /// </summary>
    public TimeSpan Earliest { get; private set; }

    /// <summary>Ticks for which no capture was made, because another one was still going on.</summary>
    public long Missed { get; private set; }

    /// <summary>Ticks that were left out to stay below the share.</summary>
    public long PutOff { get; private set; }

    /// <summary>Until then there is nothing to do; null: nothing is due but for other reasons.</summary>
    public TimeSpan? Due => NextTick is { } tick ? tick > Earliest ? tick : Earliest : null;

    /// <summary>A capture is over.</summary>
    /// <param name="begun">When it began.</param>
    /// <param name="now">Its end.</param>
    /// <param name="cost">Of the target's time.</param>
    /// <param name="onTick">False: something else asked for it, and the ticks count anew from its beginning.</param>
    public void Took(TimeSpan begun, TimeSpan now, TimeSpan cost, bool onTick)
    {
        var allowedFrom = maxShare is { } share ? begun + cost / share : TimeSpan.Zero;
        var quarter = (now - begun) / 4;
        var room = now + (quarter < OthersTurn ? quarter : OthersTurn);
        Earliest = allowedFrom > room ? allowedFrom : room;
        if (every is not { } distance) return;
        if (!onTick) (_origin, _next) = (begun, 0);
        _next++;
        var latest = (long)((now - _origin) / distance);
        if (latest > _next)
        {
            Missed += latest - _next;
            _next = latest;
        }

        var allowed = (long)Math.Ceiling((allowedFrom - _origin) / distance);
        if (allowed <= _next) return;
        PutOff += allowed - _next;
        _next = allowed;
    }
}
