using System.CommandLine;
using System.Text.Json;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`series`: the series of a store.</summary>
internal sealed class SeriesVerb : Verb
{
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print the names alone" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public SeriesVerb(CommandContext context) : base("series", "List the series: the sequences of checkpoints of one target.", context)
    {
        Options.Add(_quiet);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("series", "all series with their latest CRID"),
        new("series --json", "the same for a script"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        using var store = Context.OpenStore(parsed);
        using var reader = store.OpenView();
        var damage = new DamageWarnings();
        var all = reader.Series(damage.Tell);
        if (parsed.GetValue(_json))
        {
            JsonOutput.Array(Context, all, static (json, series) =>
            {
                json.WriteStartObject();
                WriteJson(json, series);
                json.WriteEndObject();
            });
        }
        else if (parsed.GetValue(_quiet))
        {
            foreach (var series in all) Context.Out.WriteLine(series.Name);
        }
        else
        {
            Table(all).Write(Context.Out);
        }
        return damage.ExitCode;
    }

    /// <summary>The table, which `stats` shows too.</summary>
    public static TextTable Table(IReadOnlyList<SeriesInfo> all)
    {
        var table = new TextTable("series", "latest", "checkpoints", "first", "last", "logical", "stored", "distrusted trackers").Right(1, 2, 5, 6);
        foreach (var series in all)
        {
            table.Add(series.Name, series.Latest.IsSome ? series.Latest.ToString() : "-", $"{series.Checkpoints}",
                series.Checkpoints == 0 ? "-" : Units.Time(series.First), series.Checkpoints == 0 ? "-" : Units.Time(series.Last),
                Units.Bytes(series.LogicalBytes), Units.Bytes(series.BytesStored), string.Join(", ", series.Distrusted.Select(Units.Name)));
        }
        return table;
    }

    /// <summary>A series' members.</summary>
    public static void WriteJson(Utf8JsonWriter json, SeriesInfo series)
    {
        json.WriteString("series", series.Name);
        if (series.Latest.IsSome) json.WriteNumber("latest_crid", series.Latest.Value);
        else json.WriteNull("latest_crid");
        json.WriteNumber("checkpoints", series.Checkpoints);
        json.WriteString("first", series.First.UtcDateTime.ToString("O"));
        json.WriteString("last", series.Last.UtcDateTime.ToString("O"));
        json.WriteNumber("logical_bytes", series.LogicalBytes);
        json.WriteNumber("bytes_stored", series.BytesStored);
        json.Strings("distrusted_trackers", series.Distrusted.Select(Units.Name));
    }
}
