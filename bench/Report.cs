using System.Globalization;

namespace Crstore.Bench;

/// <summary>Markdown, on the console and in a file at once; and the verdicts, repeated at the end.</summary>
internal sealed class Report(string path)
{
    private readonly List<string> _verdicts = [];

    /// <summary>A scenario broke.</summary>
    public bool Failed { get; set; }

    /// <summary>A line as it is.</summary>
    public void Line(FormattableString text) => Line(FormattableString.Invariant(text));

    /// <summary>A line as it is.</summary>
    public void Line(string text = "")
    {
        Console.WriteLine(text);
        File.AppendAllText(path, text + "\n");
    }

    /// <summary>A section.</summary>
    public void Heading(string text)
    {
        Line();
        Line("## " + text);
    }

    /// <summary>A table.</summary>
    public void Table(string[] columns, IEnumerable<object[]> rows)
    {
        Line();
        Line($"| {string.Join(" | ", columns)} |");
        Line($"|{string.Concat(columns.Select(_ => "---|"))}");
        foreach (var row in rows) Line($"| {string.Join(" | ", row.Select(Cell))} |");
        Line();
    }

    /// <summary>A figure against its limit.</summary>
    public void Verdict(string what, double value, string unit, double limit, bool atMost)
    {
        var good = atMost ? value <= limit : value >= limit;
        var line = string.Create(CultureInfo.InvariantCulture,
            $"{(good ? "reached" : "**missed**")}: {what}: {Cell(value)} {unit} (limit: {(atMost ? "at most" : "at least")} {Cell(limit)})");
        _verdicts.Add(line);
        Line("- " + line);
    }

    /// <summary>All verdicts.</summary>
    public void Summary()
    {
        Heading("Figures");
        foreach (var line in _verdicts) Line("- " + line);
    }

    private static string Cell(object value) => value switch
    {
        double d when Math.Abs(d) >= 100 => d.ToString("0", CultureInfo.InvariantCulture),
        double d when Math.Abs(d) >= 10 => d.ToString("0.0", CultureInfo.InvariantCulture),
        double d => d.ToString("0.00", CultureInfo.InvariantCulture),
        IFormattable f => f.ToString(null, CultureInfo.InvariantCulture),
        _ => value.ToString() ?? "",
    };
}
