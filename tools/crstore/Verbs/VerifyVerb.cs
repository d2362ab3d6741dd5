using System.CommandLine;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`verify`: which checkpoints are whole, and what is wrong with the others.</summary>
internal sealed class VerifyVerb : Verb
{
    private readonly Argument<string[]> _crids = new("CRID")
    {
        Arity = ArgumentArity.ZeroOrMore,
        Description = "CRIDs, or SERIES[@latest|@N|@TIME]; none: all",
    };
    private readonly Option<bool> _all = new("--all") { Description = "All checkpoints, and the store's own structures" };
    private readonly Option<bool> _readData = new("--read-data") { Description = "Read every page and check its hash as well" };
    private readonly Option<double?> _subset = new("--read-data-subset")
    {
        HelpName = "P%",
        Description = "Read a random share of the pages",
        CustomParser = Quantities.Parser(Quantities.Percent, "a share above 0% and up to 100%"),
    };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print problems alone" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public VerifyVerb(CommandContext context)
        : base("verify", "Check structure and content; names CRID, process, area and page of whatever is wrong.", context)
    {
        Arguments.Add(_crids);
        foreach (var option in new Option[] { _all, _readData, _subset, _quiet }) Options.Add(option);
        StoreWords.Complete(_crids, series: true);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("verify --all", "the structure of everything"),
        new("verify --all --read-data", "every byte"),
        new("verify --all --read-data-subset 5%", "for every night"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var specs = parsed.GetValue(_crids) ?? [];
        var options = new VerifyOptions(DataPercentOf(parsed));
        if (parsed.GetValue(_all) && specs.Length > 0)
            throw new UsageException("--all and CRIDs exclude each other", "give one of them");

        using var store = Context.OpenStore(parsed);
        using var reader = store.OpenView();
        var crids = specs.Select(reader.Resolve).Distinct().ToList();
        VerifyResult result;
        using (var progress = ProgressDisplay.Start("verifying", quiet: parsed.GetValue(_quiet) || parsed.GetValue(_json))) result = reader.Verify(crids, options, progress, Context.Cancel);
        if (parsed.GetValue(_json)) WriteJson(result);
        else WriteText(result, parsed.GetValue(_quiet));
        if (result.Broken.Count > 0)
        {
            Context.Out.Flush();
            CommandContext.Hint($"`crstore forget {string.Join(' ', result.Broken)}` and then `crstore gc` take out what is damaged, and the next capture stores it again; " +
                "until then captures go on relying on it. Whatever of a broken checkpoint is to be kept, restore from a backup of the store first");
        }

        return result.Problems.Count == 0 && result.StoreProblems.Count == 0 && result.Broken.Count == 0 ? ExitCode.Ok : ExitCode.Damaged;
    }

    private double DataPercentOf(ParseResult parsed)
    {
        var subset = parsed.GetValue(_subset);
        if (!parsed.GetValue(_readData)) return subset ?? 0;
        return subset is null ? 100 : throw new UsageException("--read-data and --read-data-subset exclude each other", "give one of them");
    }

    private void WriteText(VerifyResult result, bool quiet)
    {
        foreach (var line in ProblemText.Lines(result)) Context.Out.WriteLine(Printable.Of(line));
        if (quiet) return;
        if (result.Broken.Count > 0) Context.Out.WriteLine($"broken: {string.Join(' ', result.Broken)}");
        Context.Out.WriteLine($"whole: {(result.Whole.Count == 0 ? "none" : string.Join(' ', result.Whole))}");
        if (result.FramesRead > 0)
            Context.Out.WriteLine($"read {Units.Count(result.PagesRead, "page")} in {Units.Count(result.FramesRead, "frame")}");
    }

    private void WriteJson(VerifyResult result) => JsonOutput.Object(Context, json =>
    {
        json.WriteStartArray("whole");
        foreach (var crid in result.Whole) json.WriteNumberValue(crid.Value);
        json.WriteEndArray();
        json.WriteStartArray("broken");
        foreach (var crid in result.Broken) json.WriteNumberValue(crid.Value);
        json.WriteEndArray();
        json.Objects("problems", result.Problems, static (writer, problem) =>
        {
            writer.WriteNumber("crid", problem.Crid.Value);
            if (problem.Pid is { } pid) writer.WriteNumber("pid", pid);
            else writer.WriteNull("pid");
            writer.WriteString("vma", problem.Vma);
            if (problem.PageAddress is { } page) writer.Address("page", page);
            else writer.WriteNull("page");
            writer.WriteString("problem", problem.Text);
        });
        json.Strings("store_problems", result.StoreProblems);
        json.WriteNumber("frames_read", result.FramesRead);
        json.WriteNumber("pages_read", result.PagesRead);
    });
}
