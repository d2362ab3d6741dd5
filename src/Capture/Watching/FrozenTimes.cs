namespace Crstore.Capture.Watching;

/// <summary>Quantiles of any number of times in a fixed amount of memory: within one percent; the largest is exact.</summary>
public sealed class FrozenTimes
{
    private const double Step = 1.01;
    private readonly SortedDictionary<int, long> _counts = []; // by logarithm

    /// <summary>How many.</summary>
    public long Count { get; private set; }

    /// <summary>The longest.</summary>
    public TimeSpan Longest { get; private set; }

    /// <summary>One more.</summary>
    public void Add(TimeSpan time)
    {
        Count++;
        if (time > Longest) Longest = time;
        var step = (int)Math.Round(Math.Log(Math.Max(1, time.Ticks), Step));
        _counts[step] = _counts.GetValueOrDefault(step) + 1;
    }

    /// <summary>The time that this share of them does not exceed; zero if there are none.</summary>
    /// <param name="share">0.5 for the median.</param>
    public TimeSpan Quantile(double share)
    {
        var rank = (long)Math.Ceiling(share * Count);
        foreach (var (step, count) in _counts)
        {
            rank -= count;
            if (rank > 0) continue;
            var time = TimeSpan.FromTicks((long)Math.Pow(Step, step));
            return time < Longest ? time : Longest;
        }

        return TimeSpan.Zero;
    }
}
