namespace Crstore.Capture.Freezing;

/// <summary>Limits of a freeze.</summary>
public sealed record FreezeOptions
{
    /// <summary>Guards the frozen time; null: one with <see cref="MaxFrozen"/> is made. Make it before the freeze: that starts its thread.</summary>
    public FreezeWatchdog? Watchdog { get; init; }

    /// <summary>The longest the target may be frozen, if <see cref="Watchdog"/> is null.</summary>
    public TimeSpan MaxFrozen { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The longest to wait for the threads to stop, in one attempt: one in an uninterruptible sleep doesn't.</summary>
    public TimeSpan StopTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How often to try before giving up on a thread that doesn't stop (a vfork, a disk): it runs on in between.</summary>
    public int Attempts { get; init; } = 2;
}
