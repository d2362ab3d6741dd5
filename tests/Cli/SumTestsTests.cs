using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>tools/sum-tests.py, which says whether a run of all tests passed: what broke off or did not happen is a failure.</summary>
public sealed class SumTestsTests
{
    private const string Passed = """{"results": {"tests": [{"name": "a", "status": "passed"}]}}""";

    [Theory]
    [InlineData("0", Passed, "2 passed, 0 failed, 0 skipped")]
    [InlineData("125", Passed, "2 passed, 1 failed, 0 skipped")]     // it was killed after it had run something
    [InlineData("137", null, "1 passed, 1 failed, 0 skipped")]       // or before
    [InlineData("0", null, "1 passed, 1 failed, 0 skipped")]         // it ended well and has run nothing
    [InlineData("77", null, "1 passed, 0 failed, 1 skipped")]        // it can't be had here
    public void A_virtual_machine_that_was_killed_or_ran_nothing_fails_the_whole(string exit, string? inside, string sum)
    {
        using var directory = new TempDir();
        Add("Store", Passed);
        File.WriteAllText(directory.File("Vm.exit"), exit);
        if (inside is not null)
        {
            Directory.CreateDirectory(directory.File("vm"));
            Add("vm/Differential-never", inside);
        }

        var result = Run.Command(Requires.Python(), [Repository.Path("tools", "sum-tests.py"), directory.Path]);
        Assert.Equal(sum, result.Output.TrimEnd().Split('\n')[^1]);
        Assert.Equal(sum.Contains(" 0 failed", StringComparison.Ordinal) ? 0 : 1, result.ExitCode);

        void Add(string name, string results)
        {
            File.WriteAllText(directory.File(name + ".exit"), "0");
            File.WriteAllText(directory.File(name + ".json"), results);
        }
    }
}
