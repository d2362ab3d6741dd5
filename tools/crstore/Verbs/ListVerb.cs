using System.CommandLine;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.InMemory;

namespace Crstore.Cli.Verbs;

/// <summary>`list`: the checkpoints of a store, one line each.</summary>
internal sealed class ListVerb : Verb
{
    private readonly Option<string> _series = new("--series") { HelpName = "SERIES", Description = "Only this series" };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print the CRIDs alone" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public ListVerb(CommandContext context) : base("list", "List checkpoints in CRID order.", context)
    {
        Options.Add(_series);
        Options.Add(_quiet);
        StoreWords.CompleteSeries(_series);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("list", "all checkpoints"),
        new("list --series redis --json", "one series, for a script"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        using var store = Context.OpenStore(parsed);
        using var reader = store.OpenView();
        var series = parsed.GetValue(_series);
        var damage = new DamageWarnings();
        var headers = reader.Headers(series, damage.Tell).ToList();
        if (series is not null && headers.Count == 0 && !damage.Any)
            throw new UsageException($"there is no series {series}", "`crstore series` lists them");

        if (parsed.GetValue(_json))
            JsonOutput.Array(Context, headers, (json, header) =>
            {
                json.WriteStartObject();
                CheckpointJson.Header(json, header, reader.IsInMemory(new Crid(header.Crid)));
                json.WriteEndObject();
            });
        else if (parsed.GetValue(_quiet))
            foreach (var header in headers) Context.Out.WriteLine(header.Crid);
        else
            WriteTable(headers, reader);
        return damage.ExitCode;
    }

    private void WriteTable(List<CheckpointHeader> headers, StoreView view)
    {
        var table = new TextTable("crid", "parent", "series", "kind", "tracker", "captured", "command", "logical", "dirty", "new",
            "stored", "frozen ms", "total ms", "notes").Right(0, 1, 7, 8, 9, 10, 11, 12);
        foreach (var header in headers)
        {
            table.Add($"{header.Crid}", header.ParentCrid == 0 ? "-" : $"{header.ParentCrid}", header.Series,
                Units.Name(header.Kind), Units.Name(header.Tracker), Units.Time(Units.Instant(header.CapturedUnixNs)), header.Command,
                Units.Pages(header.Pages.Logical), Units.Pages(header.Pages.Dirty), Units.Pages(header.Pages.Fresh),
                Units.Bytes(header.BytesStored), Units.Milliseconds(header.FrozenNs), Units.Milliseconds(header.TotalNs), Notes(header, view.IsInMemory(new Crid(header.Crid))));
        }
        table.Write(Context.Out);
    }

    private static string Notes(CheckpointHeader header, bool inMemory)
    {
        var notes = new List<string>(4);
        if (inMemory) notes.Add("in memory");
        if (header.Processes > 1) notes.Add($"{header.Processes} processes");
        if (header.Incomplete) notes.Add("incomplete");
        if (header.Warnings > 0) notes.Add(Units.Count(header.Warnings, "warning"));
        return string.Join(", ", notes);
    }
}
