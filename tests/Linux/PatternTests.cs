using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Linux;

/// <summary>The formula here and the one in the targets are the same, over every kind of operation.</summary>
public class PatternTests
{
    [Fact]
    public void The_tests_know_what_a_churned_target_holds()
    {
        var seed = (ulong)Seeds.Next();
        using var directory = new TempDir();
        using var target = TargetProcess.Start("map_churner", $"{seed}");
        Assert.Equal("ready", target.ReadLine());
        Assert.StartsWith("churned 3000 ", target.Ask("churn 3000"));
        target.Ask($"expect {directory.File("expected")}");
        var pages = Pattern.ReadExpectations(directory.File("expected"));
        using var memory = File.OpenRead($"/proc/{target.Pid}/mem");
        var page = new byte[4096];
        foreach (var expected in pages)
        {
            memory.Position = (long)expected.Address;
            memory.ReadExactly(page);
            Assert.True(Pattern.Matches(page, seed, expected), $"{expected}");
        }
        Assert.Contains(pages, p => p.Generation > 0);
        Assert.Contains(pages, p => p.Generation == 0);
    }

    [Theory]
    [InlineData("private")]
    [InlineData("thp")]
    [InlineData("shared")]
    [InlineData("memfd")]
    public void A_region_keeps_its_model_through_writes_zeroes_and_discards(string kind)
    {
        using var target = TargetProcess.Start("pattern_writer", "8", $"{Seeds.Next()}", kind);
        target.Expect("ready ");
        target.Ask("write-permille 100");
        target.Ask("zero 3 40");
        target.Ask("discard 100 300");
        Assert.Equal("ok", target.Ask("verify"));
        target.Ask("start");
        target.Ask("stop");
        Assert.Equal("ok", target.Ask("verify"));
    }

    [Fact]
    public void A_process_tree_shares_memory_copy_on_write()
    {
        using var target = TargetProcess.Start("forker", "4", $"{Seeds.Next()}");
        target.Expect("ready ");
        Assert.StartsWith("child 0 ", target.Ask("fork"));
        Assert.StartsWith("wrote 100 ", target.Ask("tell 0 write 100"));
        Assert.StartsWith("child 0 ", target.Ask("tell 0 fork"));
        Assert.Equal("ok", target.Ask("tell 0 tell 0 verify"));
        Assert.Equal("ok", target.Ask("verify"));
        Assert.Equal("ended 0", target.Ask("end 0"));
    }

    [Fact]
    public void A_thread_storm_computes_right()
    {
        using var target = TargetProcess.Start("thread_storm", "3", "2");
        target.Expect("ready");
        Patience.Until(() => !target.Ask("count").Contains(" 0", StringComparison.Ordinal), "all of its threads to work"); // "rounds R started S"
        Assert.Equal("ok", target.Ask("verify"));
    }
}
