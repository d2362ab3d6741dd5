namespace Crstore.Capture.Watching;

/// <summary>
/// Which of many captures leave a processor to the target. Where they take much of the time, taking all of them from it would be felt; one now and then is over sooner with
/// all of them, for the same work. One that was asked for has all: somebody waits for it, as for a capture by hand. All times count from the start of the watch.
/// </summary>
public sealed class SpareRule
{
    /// <summary>
    /// Captures that take no more of the time have all processors. On two of them a target of one thread, which would have one for itself, gets two thirds of it
    /// meanwhile: 3 % of its work at the most, and less if crstore gives way (--nice).
    /// </summary>
    public const double RareShare = 0.1;

    private (TimeSpan Begun, TimeSpan Took)? _last;

    /// <summary>Whether the one that begins now leaves a processor alone.</summary>
    /// <param name="now">It begins.</param>
    /// <param name="asked">Somebody has asked for this one.</param>
    public bool Spares(TimeSpan now, bool asked) => !asked && _last is not null && !AreRare(now);

    /// <summary>Whether the one before took no more than <see cref="RareShare"/> of the time from its beginning to that of the one that begins now.</summary>
    /// <param name="now">It begins.</param>
    public bool AreRare(TimeSpan now) => _last is { } last && last.Took <= RareShare * (now - last.Begun);

    /// <summary>The same as a number of processors, of which there is one at the least.</summary>
    public int Processors(TimeSpan now, bool asked) => Math.Max(1, Environment.ProcessorCount - (Spares(now, asked) ? 1 : 0));

    /// <summary>A capture is over.</summary>
    /// <param name="begun">When it began.</param>
    /// <param name="now">Its end.</param>
    public void Took(TimeSpan begun, TimeSpan now) => _last = (begun, now - begun);
}
