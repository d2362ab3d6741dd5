using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli;

/// <summary>
/// What verify found, for people. One damaged frame is sixteen pages in each checkpoint that has them: neighbouring pages are one line, and so are
/// checkpoints that have the same problem. JSON has each by itself.
/// </summary>
internal static class ProblemText
{
    private sealed record Run(int? Pid, string? Vma, ulong? Page, ulong Pages, string Text);

    /// <summary>The lines, those of the store first.</summary>
    public static IEnumerable<string> Lines(VerifyResult result) => StoreLines(result.StoreProblems).Concat(CheckpointLines(result.Problems));

    /// <summary>Problems that end alike ("index entry HASH: why") are one.</summary>
    private static IEnumerable<string> StoreLines(IReadOnlyList<string> problems) =>
        from problem in problems
        group problem by problem[(problem.IndexOf(": ", StringComparison.Ordinal) + 1)..] into alike
        let count = alike.Count()
        select $"store: {alike.First()}{(count == 1 ? "" : $" (and {count - 1} more like it)")}";

    private static IEnumerable<string> CheckpointLines(IReadOnlyList<VerifyProblem> problems)
    {
        var order = new List<Run>();
        var having = new Dictionary<Run, List<Crid>>();
        foreach (var (crid, run) in Runs(problems))
        {
            if (!having.TryGetValue(run, out var crids))
            {
                having.Add(run, crids = []);
                order.Add(run);
            }

            if (!crids.Contains(crid)) crids.Add(crid);
        }

        return order.Select(run => Sentence(having[run], run));
    }

    private static IEnumerable<(Crid Crid, Run Run)> Runs(IReadOnlyList<VerifyProblem> problems)
    {
        for (var i = 0; i < problems.Count;)
        {
            var first = problems[i++];
            var run = new Run(first.Pid, first.Vma, first.PageAddress, 1, first.Text);
            while (run.Page is { } start && i < problems.Count && problems[i] is var next && next.Crid == first.Crid && next.Pid == run.Pid && next.Vma == run.Vma
                && next.Text == run.Text && next.PageAddress == start + (run.Pages * VirtualPage.Size))
            {
                run = run with { Pages = run.Pages + 1 };
                i++;
            }

            yield return (first.Crid, run);
        }
    }

    private static string Sentence(List<Crid> crids, Run run)
    {
        var where = $"CRID {string.Join(' ', crids)}";
        if (run.Pid is { } pid) where += $", process {pid}";
        if (run.Vma is { } vma) where += $", {vma}";
        if (run.Page is { } page) where += run.Pages == 1 ? $", page 0x{page:x}" : $", {run.Pages} pages from 0x{page:x}";
        return $"{where}: {run.Text}";
    }
}
