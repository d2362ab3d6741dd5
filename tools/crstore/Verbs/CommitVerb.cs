using System.CommandLine;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`commit`: writes checkpoints of `capture --memory-only` into the store.</summary>
internal sealed class CommitVerb : Verb
{
    private readonly Argument<string[]> _crids = new("CRID")
    {
        Arity = ArgumentArity.OneOrMore,
        Description = "CRIDs that `capture --memory-only` printed, or SERIES[@latest|@N|@TIME]",
    };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print nothing but errors" };
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public CommitVerb(CommandContext context)
        : base("commit", "Make checkpoints of `capture --memory-only` durable, under the same CRIDs; then they leave the memory.", context)
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
        new("commit 17", "CRID 17 is durable when this returns; if it is interrupted, or killed, it can be called again"),
        new("commit redis@latest --json", "the last one of a series, with what it took in the store"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged, ExitCode.Busy];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        using var store = CheckpointStore.Open(StoreOptionsOf(parsed, _lockTimeout));
        List<Crid> crids;
        using (var view = store.OpenView()) crids = [.. parsed.GetRequiredValue(_crids).Select(view.Resolve).Distinct().Order()]; // parents first
        var quiet = parsed.GetValue(_quiet);
        var done = new List<(CheckpointHeader Header, bool Written)>();
        try
        {
            foreach (var crid in crids)
            {
                using var progress = ProgressDisplay.Start($"committing CRID {crid}", quiet: quiet || parsed.GetValue(_json));
                done.Add(store.CommitFromMemory(crid, progress, Context.Cancel));
            }
        }
        finally
        {
            // Those before one that failed are durable.
            if (done.Count > 0 && parsed.GetValue(_json)) WriteJson(done);
            else if (!quiet) WriteText(done);
        }

        return ExitCode.Ok;
    }

    private void WriteText(List<(CheckpointHeader Header, bool Written)> done)
    {
        foreach (var (header, written) in done)
            Context.Out.WriteLine(written ? $"CRID {header.Crid} is committed: {Units.Bytes(header.BytesStored)} stored" : $"CRID {header.Crid} was committed already");
    }

    private void WriteJson(List<(CheckpointHeader Header, bool Written)> done) => JsonOutput.Array(Context, done, static (json, one) =>
    {
        json.WriteStartObject();
        CheckpointJson.Header(json, one.Header, inMemory: false);
        json.WriteBoolean("written", one.Written);
        json.WriteEndObject();
    });
}
