using Crstore.Model;
using Crstore.Store;
using Crstore.Tests.Crash.Driver;
using Xunit;

namespace Crstore.Tests.Crash;

/// <summary>Compares a store with what the drivers' oracle files say.</summary>
internal static class StoreOracleCheck
{
    /// <summary>Every acknowledged and not forgotten CRID reads back exactly; nothing is there that nobody meant; no CRID was given out twice.</summary>
    /// <returns>Checkpoints compared.</returns>
    public static int Run(string directory, string oracleDirectory, bool verify)
    {
        var state = Oracle.ReadAll(oracleDirectory);
        Assert.Empty(state.Reused);
        if (!File.Exists(Path.Combine(directory, "format")))
        {
            Assert.Empty(state.Committed);
            return 0;
        }

        using var store = CheckpointStore.Open(new StoreOptions(directory) { MemoryRoot = Path.Combine(oracleDirectory, "memory"), MemoryMayBeDisk = true });
        using var reader = store.OpenView();
        var there = reader.Headers().ToDictionary(h => new Crid(h.Crid));
        foreach (var crid in state.Committed)
            Assert.True(state.Forgetting.Contains(crid) || (there.ContainsKey(crid) && !reader.IsInMemory(crid)), $"CRID {crid} was acknowledged and is gone");
        foreach (var crid in state.Kept) Assert.True(state.Forgetting.Contains(crid) || there.ContainsKey(crid), $"CRID {crid} was in memory and is gone");
        foreach (var crid in state.Forgotten) Assert.False(there.ContainsKey(crid), $"CRID {crid} was forgotten and is back");
        foreach (var (crid, header) in there)
        {
            Assert.True(state.Meant.TryGetValue(crid, out var meant), $"nobody meant CRID {crid}");
            Assert.Equal(meant.Series, header.Series);
            using var image = reader.OpenImage(crid);
            Assert.Null(meant.Memory.Compare(image));
        }

        if (verify)
        {
            var result = reader.Verify([], new VerifyOptions(100), null, CancellationToken.None);
            Assert.Empty(result.Problems);
            Assert.Empty(result.Broken);
            Assert.Empty(result.StoreProblems);
            Assert.Equal(there.Count, result.Whole.Count);
        }

        return there.Count;
    }
}
