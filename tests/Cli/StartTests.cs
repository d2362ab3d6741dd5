using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>What is published is one native program: each start would wait for a runtime and its JIT, and so would a frozen target.</summary>
public sealed class StartTests
{
    [Fact]
    public void The_program_is_one_file_that_runs_anywhere()
    {
        using var store = new CliStore();
        var alone = store.File("renamed");
        File.Copy(CrstoreProgram.Path, alone);
        using var target = TargetProcess.Start("pattern_writer", "2", "1");
        foreach (var arguments in new[] { ["capture", $"{target.Pid}"], ["verify"], new[] { "restore", "1", "--to", store.File("image"), "--format", "raw" } })
            Run.Command(alone, [.. arguments, "--store", store.Path], environment: CrstoreProgram.Clean).MustSucceed();
    }

    // It lies in wait for a signal: what it has loaded by then is all that it ever loads but the store's libraries.
    [Fact]
    public void No_runtime_that_compiles_is_loaded()
    {
        Requires.Root();
        using var store = new CliStore();
        using var target = TargetProcess.Start("pattern_writer", "2", "1");
        using var watch = store.Begin("watch", $"{target.Pid}", "--every", "1h");
        try
        {
            Patience.Until(() => store.Run("list", "--json").Output.Contains("\"crid\"", StringComparison.Ordinal), "the first capture of a watch");
            var mapped = File.ReadAllText($"/proc/{watch.Id}/maps");
            Assert.Contains("librocksdb", mapped, StringComparison.Ordinal); // the maps are a crstore's
            Assert.DoesNotContain("clr", mapped, StringComparison.Ordinal);
            Assert.DoesNotContain(".dll", mapped, StringComparison.Ordinal);
        }
        finally
        {
            watch.Kill();
            watch.WaitForExit();
        }
    }
}
