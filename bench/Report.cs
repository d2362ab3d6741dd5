using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Crstore.Bench;

/// <summary>
/// What was measured: Markdown on the console and in report.md at once, the same as data in report.json, plots as SVG beside them; and
/// the verdicts, repeated at the end.
/// </summary>
internal sealed class Report
{
    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private readonly string _directory;
    private readonly List<string> _verdicts = [];
    private readonly JsonArray _machine = [], _scenarios = [];
    private JsonObject? _scenario;

    /// <param name="directory">Where the files go; those of an earlier report there are replaced.</param>
    public Report(string directory)
    {
        _directory = Directory.CreateDirectory(directory).FullName;
        foreach (var file in Directory.EnumerateFiles(_directory).Where(f => Path.GetExtension(f) is ".md" or ".json" or ".svg")) File.Delete(file);
    }

    /// <summary>A scenario broke.</summary>
    public bool Failed { get; private set; }

    /// <summary>A line as it is.</summary>
    public void Line(FormattableString text) => Line(FormattableString.Invariant(text));

    /// <summary>A line as it is.</summary>
    public void Line(string text = "")
    {
        Print(text);
        if (text.Length > 0) (_scenario is null ? _machine : Part("notes")).Add((JsonNode)text);
    }

    /// <summary>The section of a scenario.</summary>
    public void Begin(IScenario scenario)
    {
        Print();
        Print("## " + scenario.Title);
        _scenario = new JsonObject { ["name"] = scenario.Name, ["title"] = scenario.Title };
        _scenarios.Add((JsonNode)_scenario);
    }

    /// <summary>The scenario broke.</summary>
    public void Fail(string why)
    {
        Failed = true;
        Print($"**failed**: {why}");
        _scenario!["failed"] = why;
    }

    /// <summary>A table.</summary>
    public void Table(string[] columns, IEnumerable<object[]> rows)
    {
        var all = rows.ToList();
        Print();
        Print($"| {string.Join(" | ", columns)} |");
        Print($"|{string.Concat(columns.Select(_ => "---|"))}");
        foreach (var row in all) Print($"| {string.Join(" | ", row.Select(Cell))} |");
        Print();
        Part("tables").Add((JsonNode)new JsonObject
        {
            ["columns"] = Array([.. columns]),
            ["rows"] = new JsonArray([.. all.Select(r => (JsonNode)Array(r))]),
        });
    }

    /// <summary>A figure against its limit.</summary>
    public void Verdict(string what, double value, string unit, double limit, bool atMost) =>
        Judge(what, value, unit, limit, atMost, $"{Cell(value)} {unit}", []);

    /// <summary>A figure as a ratio to its floor, what the hardware or a peer did in the same run; and that ratio's limit.</summary>
    /// <param name="what">Of what.</param>
    /// <param name="value">Ours.</param>
    /// <param name="floor">The floor.</param>
    /// <param name="unit">Of both.</param>
    /// <param name="floorIs">What the floor is.</param>
    /// <param name="limit">Of value / floor.</param>
    /// <param name="atMost">Or at least.</param>
    public void Figure(string what, double value, double floor, string unit, string floorIs, double limit, bool atMost) =>
        Judge(what, value / floor, "×", limit, atMost, $"{Cell(value)} {unit} = {Cell(value / floor)} × {floorIs} ({Cell(floor)} {unit})",
            new JsonObject { ["measured"] = value, ["measured_unit"] = unit, ["floor"] = floor, ["floor_is"] = floorIs });

    /// <summary>A figure that scatters more than is left to its limit, mostly: not resolved, if the limit lies within the interval.</summary>
    public void Verdict(string what, MedianInterval value, string unit, double limit)
    {
        var more = new JsonObject { ["low"] = Data(value.Low), ["high"] = Data(value.High) };
        Judge(what, value.Median, unit, limit, atMost: true, $"{value} {unit}", more, resolved: value.High <= limit || value.Low > limit);
    }

    /// <summary>A plot, as NAME.svg beside the report.</summary>
    public void Plot(string name, LinePlot plot)
    {
        File.WriteAllText(Path.Combine(_directory, name + ".svg"), plot.Svg());
        Print($"![{plot.Title}]({name}.svg)");
        Part("plots").Add((JsonNode)new JsonObject
        {
            ["file"] = name + ".svg",
            ["title"] = plot.Title,
            ["x"] = plot.X,
            ["y"] = plot.Y,
            ["series"] = new JsonObject(plot.Lines.Select(l => KeyValuePair.Create(l.Name, (JsonNode?)new JsonArray([.. l.Points.Select(p => (JsonNode)Array([p.X, p.Y]))])))),
        });
    }

    /// <summary>All verdicts, and the data.</summary>
    public void Summary()
    {
        Print();
        Print("## Figures");
        foreach (var line in _verdicts) Print("- " + line);
        var all = new JsonObject { ["machine"] = _machine, ["scenarios"] = _scenarios };
        File.WriteAllText(Path.Combine(_directory, "report.json"), all.ToJsonString(Readable) + "\n");
    }

    /// <summary>A number with three digits that count.</summary>
    public static string Cell(object value) => value switch
    {
        double d when double.IsNaN(d) => "",
        double d when Math.Abs(d) >= 100 => d.ToString("0", CultureInfo.InvariantCulture),
        double d when Math.Abs(d) >= 10 => d.ToString("0.0", CultureInfo.InvariantCulture),
        double d => d.ToString("0.00", CultureInfo.InvariantCulture),
        IFormattable f => f.ToString(null, CultureInfo.InvariantCulture),
        _ => value.ToString() ?? "",
    };

    private static JsonArray Array(IEnumerable<object> values) => new([.. values.Select(Data)]);

    private static JsonNode? Data(object value) => value switch
    {
        double d => double.IsFinite(d) ? JsonValue.Create(Math.Round(d, 6)) : null,
        ulong u => JsonValue.Create(u),
        long l => JsonValue.Create(l),
        int i => JsonValue.Create(i),
        _ => JsonValue.Create(Cell(value)),
    };

    private void Judge(string what, double value, string unit, double limit, bool atMost, string words, JsonObject more, bool resolved = true)
    {
        var good = resolved && (atMost ? value <= limit : value >= limit);
        var line = $"{(!resolved ? "**not resolved**" : good ? "reached" : "**missed**")}: {what}: {words} (limit: {(atMost ? "at most" : "at least")} {Cell(limit)})";
        _verdicts.Add(line);
        Print("- " + line);
        more["what"] = what;
        more["value"] = Data(value);
        more["unit"] = unit;
        more["limit"] = limit;
        more["at_most"] = atMost;
        more["reached"] = good;
        more["resolved"] = resolved;
        Part("figures").Add((JsonNode)more);
    }

    private JsonArray Part(string name)
    {
        if (_scenario![name] is JsonArray there) return there;
        var made = new JsonArray();
        _scenario[name] = made;
        return made;
    }

    private void Print(string text = "")
    {
        Console.WriteLine(text);
        File.AppendAllText(Path.Combine(_directory, "report.md"), text + "\n");
    }
}
