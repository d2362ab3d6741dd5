using System.CommandLine;
using System.CommandLine.Parsing;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`forget`: removes checkpoints; any of a chain, in any order.</summary>
internal sealed class ForgetVerb : Verb
{
    private readonly Argument<Crid[]> _crids = new("CRID")
    {
        Arity = ArgumentArity.ZeroOrMore,
        Description = "Checkpoints to remove; the others of the chain stay whole",
        CustomParser = ParseCrids,
    };
    private readonly Option<string> _series = new("--series") { HelpName = "SERIES", Description = "With --keep-last: the series to thin" };
    private readonly Option<int?> _keepLast = new("--keep-last")
    {
        HelpName = "N",
        Description = "Remove all of the series but the last N",
        CustomParser = Quantities.Parser(Quantities.Count, "a number of checkpoints, 0 or more"),
    };
    private readonly Option<bool> _dryRun = new("--dry-run", "-n") { Description = "Only say what would be removed" };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print nothing but errors" };
    private readonly Option<TimeSpan?> _lockTimeout;
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public ForgetVerb(CommandContext context)
        : base("forget", "Remove checkpoints, in any order; `gc` then frees their space. CRIDs are never used again.", context)
    {
        Arguments.Add(_crids);
        foreach (var option in new Option[] { _series, _keepLast, _dryRun, _quiet }) Options.Add(option);
        StoreWords.Complete(_crids, series: false);
        StoreWords.CompleteSeries(_series);
        _lockTimeout = AddLockTimeout();
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("forget 17 21", "two checkpoints, wherever they lie in their chains"),
        new("forget --series redis --keep-last 24 --dry-run", "what thinning a series would remove"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged, ExitCode.Busy];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        using var store = CheckpointStore.Open(StoreOptionsOf(parsed, _lockTimeout));
        var crids = Chosen(parsed, store);
        var result = store.Forget(crids, parsed.GetValue(_dryRun), line => CommandContext.Warn($"{line}; it stays as it is"));
        if (parsed.GetValue(_json))
        {
            JsonOutput.Object(Context, json =>
            {
                json.WriteStartArray("forgotten");
                foreach (var crid in result.Forgotten) json.WriteNumberValue(crid.Value);
                json.WriteEndArray();
                json.WriteBoolean("dry_run", result.DryRun);
            });
        }
        else if (!parsed.GetValue(_quiet))
        {
            var what = result.Forgotten.Count == 0 ? "nothing" : string.Join(' ', result.Forgotten);
            Context.Out.WriteLine(result.DryRun ? $"would forget {what}" : $"forgot {what}");
            if (result is { DryRun: false, Forgotten.Count: > 0 }) Context.Out.WriteLine("`crstore gc` frees the space");
        }
        return ExitCode.Ok;
    }

    private IReadOnlyList<Crid> Chosen(ParseResult parsed, CheckpointStore store)
    {
        var crids = parsed.GetValue(_crids) ?? [];
        var series = parsed.GetValue(_series);
        var keepLast = parsed.GetValue(_keepLast);
        if (crids.Length > 0)
        {
            return series is null && keepLast is null
                ? [.. crids.Distinct()]
                : throw new UsageException("CRIDs and --series exclude each other", "give CRIDs, or --series S --keep-last N");
        }
        if (series is null || keepLast is not { } keep)
            throw new UsageException("nothing to forget is named", "give CRIDs, or --series S --keep-last N");

        using var reader = store.OpenReader(); // those that are in memory only neither count nor go: nobody keeps them by number
        var all = reader.Headers(series).Select(header => new Crid(header.Crid)).ToList();
        if (all.Count == 0) throw new UsageException($"there is no checkpoint in series {series}", "`crstore series` lists them");
        return [.. all.SkipLast(keep)];
    }

    private static Crid[] ParseCrids(ArgumentResult result)
    {
        var crids = new List<Crid>(result.Tokens.Count);
        foreach (var token in result.Tokens)
        {
            // Only numbers: a name that stands for another checkpoint every day is no way to delete.
            if (Crid.TryParse(token.Value, out var crid)) crids.Add(crid);
            else result.AddError($"'{token.Value}' is not a CRID");
        }
        return [.. crids];
    }
}
