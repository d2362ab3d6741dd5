namespace Crstore.Cli.Watching;

/// <summary>
/// The pause after captures that failed. What is in their way (a debugger, a full disk) may need a while to pass, so it doubles with each failure in a
/// row. All times count from the start of the watch.
/// </summary>
internal sealed class FailureBackoff
{
    private static readonly TimeSpan First = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(1);

    /// <summary>Failures since the last capture that succeeded.</summary>
    public int InARow { get; private set; }

    /// <summary>No capture before this.</summary>
    public TimeSpan Until { get; private set; }

    /// <summary>One more has failed.</summary>
    public void Failed(TimeSpan now)
    {
        var pause = First * Math.Pow(2, Math.Min(InARow++, 10)); // ten are far more than the longest
        Until = now + (pause < Longest ? pause : Longest);
    }

    /// <summary>One has succeeded.</summary>
    public void Succeeded() => (InARow, Until) = (0, TimeSpan.Zero);
}
