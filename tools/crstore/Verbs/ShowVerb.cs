using System.CommandLine;
using Crstore.Model;

namespace Crstore.Cli.Verbs;

/// <summary>`show`: everything about one checkpoint but its pages.</summary>
internal sealed class ShowVerb : Verb
{
    private readonly Argument<string> _crid = new("CRID") { Description = "CRID, or SERIES[@latest|@N|@TIME]" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public ShowVerb(CommandContext context)
        : base("show", "Show a checkpoint: phases, processes, threads, VMAs, fds, tracker and its proof, exclusions.", context)
    {
        Arguments.Add(_crid);
        StoreWords.Complete(_crid, series: true);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("show 17", "one checkpoint"),
        new("show redis@latest --json", "the latest of a series, for a script"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        using var store = Context.OpenStore(parsed);
        using var reader = store.OpenView();
        var manifest = reader.Manifest(reader.Resolve(parsed.GetRequiredValue(_crid)));
        if (parsed.GetValue(_json))
        {
            JsonOutput.Object(Context, json =>
            {
                CheckpointJson.Header(json, manifest.Header, reader.IsInMemory(manifest.Crid));
                CheckpointJson.Body(json, manifest.Body);
            });
        }
        else
        {
            new ManifestText(Context.Out).Write(manifest, reader.IsInMemory(manifest.Crid));
        }
        return ExitCode.Ok;
    }
}
