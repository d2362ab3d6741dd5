namespace Crstore.Bench;

/// <summary>
/// A median, and between which values that of all one could measure lies: those of the samples, counted from both ends, which a fair coin makes at least nine times in ten. It
/// assumes nothing of how the samples scatter. Fewer than five say nothing.
/// </summary>
/// <param name="Median">Of the samples.</param>
/// <param name="Low">The interval's lower end.</param>
/// <param name="High">Its upper one.</param>
internal readonly record struct MedianInterval(double Median, double Low, double High)
{
    private const double Sure = 0.9;

    /// <summary>Of these.</summary>
    public static MedianInterval Of(IEnumerable<double> samples)
    {
        var sorted = samples.Order().ToArray();
        var (left, below, choose, all) = (-1, 0.0, 1.0, Math.Pow(2, sorted.Length));
        for (var k = 0; k < sorted.Length; k++)
        {
            below += choose / all; // at most k of the samples are below the true median
            if (2 * below > 1 - Sure) break;
            left = k;
            choose = choose * (sorted.Length - k) / (k + 1);
        }

        return left < 0 ? new(sorted.Median(), double.NegativeInfinity, double.PositiveInfinity) : new(sorted.Median(), sorted[left], sorted[^(left + 1)]);
    }

    /// <summary>With the digits that count.</summary>
    public override string ToString() => double.IsFinite(Low) ? $"{Report.Cell(Median)} [{Report.Cell(Low)}, {Report.Cell(High)}]" : $"{Report.Cell(Median)} [too few]";
}
