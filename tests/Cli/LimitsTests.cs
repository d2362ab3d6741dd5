using System.Text.Json;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>docs/LIMITS.md and the verdicts come from one source.</summary>
public sealed class LimitsTests
{
    [Fact]
    public void The_table_of_what_restarts_says_what_check_says()
    {
        var json = JsonDocument.Parse(CrstoreProgram.Start("check", "--objects", "--json").MustSucceed().Output).RootElement;
        var rows = json.GetProperty("objects").EnumerateArray()
            .Select(o => $"| {o.GetProperty("kind")} | {o.GetProperty("restarts")} | {o.GetProperty("policy")} | {o.GetProperty("refused")} |").ToList();
        Assert.True(rows.Count > 20);
        Assert.All(rows, r => Assert.DoesNotContain("|  |  |  |", r));
        const string heading = "| kind | restarts | by policy | refused |";
        var lines = File.ReadAllLines(Repository.Path("docs", "LIMITS.md"));
        var table = lines.SkipWhile(l => l != heading).Skip(2).TakeWhile(l => l.StartsWith('|'));
        Assert.Equal(rows, table);
    }
}
