using Crstore.Model;
using Crstore.Store;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>Checkpoints of a <see cref="Memory"/>, and what became of them.</summary>
internal static class Captures
{
    public static Crid Capture(CheckpointStore store, Memory memory, string series = "s")
    {
        using var writer = store.BeginCapture(series, false);
        return Commit(writer, memory);
    }

    public static Crid Commit(ICheckpointWriter writer, Memory memory)
    {
        memory.WriteTo(writer.OpenSpace(new SpaceId(0), writer.Parent is null ? null : new SpaceId(0)));
        return new Crid(writer.Commit(Memory.Manifest()).Crid);
    }

    public static void VerifyAll(CheckpointStore store, IEnumerable<(Crid Crid, Memory Memory)> all)
    {
        using var reader = store.OpenReader();
        foreach (var (crid, memory) in all)
        {
            using var image = reader.OpenImage(crid);
            memory.AssertEquals(image);
        }

        var result = reader.Verify([], new VerifyOptions(100), null, CancellationToken.None);
        Assert.Empty(result.Problems);
        Assert.Empty(result.StoreProblems);
    }
}
