using System.CommandLine;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`discard`: lets checkpoints of `capture --memory-only` go.</summary>
internal sealed class DiscardVerb : Verb
{
    private readonly Argument<string[]> _crids = new("CRID") { Arity = ArgumentArity.OneOrMore, Description = "CRIDs that `capture --memory-only` printed" };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print nothing but errors" };
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public DiscardVerb(CommandContext context)
        : base("discard", "Let checkpoints of `capture --memory-only` go, all or none, and give back their memory; committed ones are refused.", context)
    {
        Arguments.Add(_crids);
        Options.Add(_quiet);
        StoreWords.CompleteInMemory(_crids);
        _lockTimeout = AddLockTimeout();
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("discard 17", "CRID 17 is not wanted any more"),
        new("discard 17 18 --quiet", "both, or neither if one of them is committed or unknown"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged, ExitCode.Busy];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var crids = new List<Crid>();
        foreach (var word in parsed.GetRequiredValue(_crids))
        {
            // Only numbers, as with `forget`.
            if (!Crid.TryParse(word, out var crid)) throw new UsageException($"'{word}' is not a CRID", "give the numbers that `capture --memory-only` printed");
            if (!crids.Contains(crid)) crids.Add(crid);
        }

        using var store = CheckpointStore.Open(StoreOptionsOf(parsed, _lockTimeout));
        store.Discard(crids, Context.Cancel);
        if (parsed.GetValue(_json))
        {
            JsonOutput.Object(Context, json =>
            {
                json.WriteStartArray("discarded");
                foreach (var crid in crids) json.WriteNumberValue(crid.Value);
                json.WriteEndArray();
            });
        }
        else if (!parsed.GetValue(_quiet))
        {
            Context.Out.WriteLine($"discarded {string.Join(' ', crids)}");
        }

        return ExitCode.Ok;
    }
}
