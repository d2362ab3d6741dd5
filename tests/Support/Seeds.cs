using System.Globalization;
using Xunit;

namespace Crstore.Tests.Support;

/// <summary>Randomness that can be had again: CRSTORE_SEED=N repeats a run.</summary>
public static class Seeds
{
    /// <summary>A fresh seed, or CRSTORE_SEED; printed into the test's output.</summary>
    public static int Next()
    {
        var given = Environment.GetEnvironmentVariable("CRSTORE_SEED");
        var seed = given is null ? System.Random.Shared.Next(1, int.MaxValue) : int.Parse(given, CultureInfo.InvariantCulture);
        Print($"seed: CRSTORE_SEED={seed}");
        return seed;
    }

    /// <summary>A generator with a fresh, printed seed.</summary>
    public static Random Random() => new(Next());

    /// <summary>A line in the test's output, or on the console outside a test.</summary>
    public static void Print(string line)
    {
        if (TestContext.Current.TestOutputHelper is { } output) output.WriteLine(line);
        else Console.WriteLine(line);
    }
}
