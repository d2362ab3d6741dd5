using System.CommandLine;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli.Verbs;

/// <summary>`diff`: pages that differ between two checkpoints.</summary>
internal sealed class DiffVerb : Verb
{
    private readonly Argument<string> _a = new("A") { Description = "CRID, or SERIES[@latest|@N|@TIME]" };
    private readonly Argument<string> _b = new("B") { Description = "The other one" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public DiffVerb(CommandContext context)
        : base("diff", "Show which pages differ between two checkpoints, per memory area; costs what differs.", context)
    {
        Arguments.Add(_a);
        Arguments.Add(_b);
        StoreWords.Complete(_a, series: true);
        StoreWords.Complete(_b, series: true);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("diff 17 21", "pages changed per memory area"),
        new("diff redis@1 redis@latest --json", "first and latest of a series, with the page ranges"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        using var store = Context.OpenStore(parsed);
        using var reader = store.OpenView();
        var a = reader.Resolve(parsed.GetRequiredValue(_a));
        var b = reader.Resolve(parsed.GetRequiredValue(_b));
        DiffResult diff;
        using (var progress = ProgressDisplay.Start("comparing", quiet: parsed.GetValue(_json))) diff = reader.Diff(a, b, progress, Context.Cancel);
        if (parsed.GetValue(_json)) WriteJson(diff);
        else WriteText(diff);
        return ExitCode.Ok;
    }

    private void WriteText(DiffResult diff)
    {
        var total = diff.Spaces.Aggregate(0ul, (sum, space) => sum + space.PagesChanged);
        Context.Out.WriteLine($"CRID {diff.A} and {diff.B}: {Units.Count(total, "page")} differ ({Units.Pages(total)})");
        foreach (var space in diff.Spaces.Where(space => space.PagesChanged > 0))
        {
            Context.Out.WriteLine(Printable.Of($"process {space.Pid} ({space.Command}): {Units.Count(space.PagesChanged, "page")}"));
            var table = new TextTable("start", "end", "pages", "of", "name").Right(2, 3);
            foreach (var vma in space.Vmas.Where(vma => vma.PagesChanged > 0))
            {
                table.Add($"0x{vma.Start:x}", $"0x{vma.End:x}", $"{vma.PagesChanged}",
                    $"{(vma.End - vma.Start) / VirtualPage.Size}", vma.Name);
            }
            table.Write(Context.Out, "  ");
        }
    }

    private void WriteJson(DiffResult diff) => JsonOutput.Object(Context, json =>
    {
        json.WriteNumber("a", diff.A.Value);
        json.WriteNumber("b", diff.B.Value);
        json.Objects("processes", diff.Spaces, static (writer, space) =>
        {
            writer.WriteNumber("pid", space.Pid);
            writer.WriteString("command", space.Command);
            writer.WriteNumber("pages_changed", space.PagesChanged);
            writer.Objects("vmas", space.Vmas, static (inner, vma) =>
            {
                inner.Address("start", vma.Start);
                inner.Address("end", vma.End);
                inner.WriteString("name", vma.Name);
                inner.WriteNumber("pages_changed", vma.PagesChanged);
                inner.Objects("ranges", vma.Ranges, static (innermost, range) =>
                {
                    innermost.Address("start", range.Start.Address);
                    innermost.WriteNumber("pages", range.Count);
                });
            });
        });
    });
}
