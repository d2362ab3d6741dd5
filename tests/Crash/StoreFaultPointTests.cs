using Crstore.Store;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Crash;

public sealed class StoreFaultPointTests
{
    /// <summary>Captures small and big, forgets, gcs: passes every point, on a store that has something to lose.</summary>
    private const string Script = "ccbcbccbffffgccbbcffffgcbg";

    public static TheoryData<string> Points => [.. FaultPoint.Names];

    [Theory]
    [MemberData(nameof(Points))]
    public void Death_at_each_named_point_of_commit_and_gc_loses_nothing(string point)
    {
        var random = Seeds.Random();
        using var temp = new TempDir();
        var store = temp.File("store");
        using (var driver = new DriverProcess(store, temp.Path, "dying", random.Next(), 0, Script, fault: point))
        {
            var code = driver.WaitForExit();
            Assert.True(code == 137, $"{point} was never passed: exit code {code}\n{driver.Errors}");
        }

        StoreOracleCheck.Run(store, temp.Path, verify: true);
        using (var driver = new DriverProcess(store, temp.Path, "heir", random.Next(), 0, "ccbfgccr"))
        {
            var code = driver.WaitForExit();
            Assert.True(code == 0, $"exit code {code}\n{driver.Errors}");
        }

        Assert.True(StoreOracleCheck.Run(store, temp.Path, verify: true) > 0);
        Assert.Empty(Directory.GetFiles(Path.Combine(store, "incoming")));
        Assert.Empty(Directory.GetFiles(Path.Combine(store, "sessions")));
    }
}
