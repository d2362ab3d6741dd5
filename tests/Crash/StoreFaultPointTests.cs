using Crstore.Store;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Crash;

public sealed class StoreFaultPointTests
{
    /// <summary>Captures small and big, some with the store kept open, some lazily, some in memory first, forgets, gcs, packs harder: passes every point, on a store that has something to lose.</summary>
    private const string Script = "ckblcbkmmamacbzffffgclckbkczffffgcbgz";

    public static TheoryData<string> Points => [.. StoreFaultPoints.Names];

    [Theory]
    [MemberData(nameof(Points))]
    public void Death_at_each_named_point_of_commit_and_gc_loses_nothing(string point)
    {
        var random = Seeds.Random();
        using var temp = DieAt(point, random);
        var store = temp.File("store");
        StoreOracleCheck.Run(store, temp.Path, verify: true);
        using (var driver = new DriverProcess(store, temp.Path, "heir", random.Next(), 0, "mckbfagzkcr"))
        {
            var code = driver.WaitForExit();
            Assert.True(code == 0, $"exit code {code}\n{driver.Errors}");
        }

        Assert.True(StoreOracleCheck.Run(store, temp.Path, verify: true) > 0);
        Assert.Empty(Directory.GetFiles(Path.Combine(store, "incoming")));
        Assert.Empty(Directory.GetFiles(Path.Combine(store, "sessions")));
    }

    /// <summary>A store's first captures have no patches, and find nothing in the index: die in one of the first seven.</summary>
    private static string Pass(string point, Random random) =>
        point.StartsWith("commit.", StringComparison.Ordinal) || point.StartsWith("capture.", StringComparison.Ordinal) ? $"{point}:{random.Next(1, 8)}" : point;

    /// <summary>
    /// The directory in which a driver died at the point. What a gc finds to free hangs on which CRIDs chance forgets: a few
    /// points are not passed with every seed, so others are tried, each on a new store.
    /// </summary>
    private static TempDir DieAt(string point, Random random)
    {
        for (var attempt = 1; ; attempt++)
        {
            var temp = new TempDir();
            using var driver = new DriverProcess(temp.File("store"), temp.Path, "dying", random.Next(), 0, Script, fault: Pass(point, random));
            var code = driver.WaitForExit();
            if (code == 137) return temp;
            temp.Dispose();
            Assert.True(code == 0 && attempt < 40, $"{point} was never passed in {attempt} tries: exit code {code}\n{driver.Errors}");
        }
    }
}
