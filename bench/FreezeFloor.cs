using System.Globalization;
using System.Text.RegularExpressions;
using Crstore.Tests.Support;

namespace Crstore.Bench;

/// <summary>What a C program takes to stop a target, find what was written, and copy as much: bench/floor.c.</summary>
internal sealed record FloorTimes(double SeizeMs, double ScanMs, double MemcpyMs, double ReadvMs, double Pages)
{
    /// <summary>Seize + scan + memcpy.</summary>
    public double TotalMs => SeizeMs + ScanMs + MemcpyMs;

    /// <summary>With process_vm_readv of the very pages instead of the memcpy.</summary>
    public double ReadingMs => SeizeMs + ScanMs + ReadvMs;
}

/// <summary>Measures the floor of the frozen time on targets that are armed: they have said of each process "PID ADDRESS PAGES [ADDRESS PAGES]".</summary>
/// <param name="context">Seed and program.</param>
/// <param name="mostPages">To copy.</param>
/// <param name="processes">Of each process its words.</param>
internal sealed partial class FreezeFloor(BenchContext context, ulong mostPages, params string[][] processes)
{
    private int _round;

    /// <summary>Once; what was written up to now counts as read.</summary>
    public FloorTimes Measure()
    {
        var words = new List<string> { $"{context.Seed + _round++}", $"{mostPages}" };
        foreach (var process in processes)
        {
            if (words.Count > 2) words.Add("/");
            words.AddRange(process);
        }

        var line = Tests.Support.Run.Command(context.FloorProgram, [.. words]).MustSucceed().Output;
        var values = Numbers().Matches(line).Select(m => double.Parse(m.Value, CultureInfo.InvariantCulture)).ToArray();
        return new FloorTimes(values[0] / 1e6, values[1] / 1e6, values[2] / 1e6, values[3] / 1e6, values[4]);
    }

    /// <summary>What "writers" says to "arm", in processes.</summary>
    public static string[][] Armed(string answer)
    {
        var words = answer.Split(' ')[1..];
        return words.Contains("-1") ? throw new InvalidOperationException("no userfaultfd with asynchronous write protection here (Linux 6.7)") : [.. words.Chunk(3)];
    }

    /// <summary>Rows of a table: median, best, worst.</summary>
    public static object[] Row(string name, IEnumerable<double> values)
    {
        var all = values.ToArray();
        return [name, all.Median(), all.Min(), all.Max()];
    }

    [GeneratedRegex(@"\d+")]
    private static partial Regex Numbers();
}
