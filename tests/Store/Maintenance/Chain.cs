using Crstore.Model;
using Crstore.Store;
using Crstore.Tests.Store.Stores;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>Chains of checkpoints with the memory that each should have.</summary>
internal static class Chain
{
    /// <summary>A base and increments that change, unmap and map pages at random.</summary>
    public static SortedDictionary<Crid, Memory> Make(TempStore temp, Random random, int length, string series = "s", int pages = 1500)
    {
        var all = new SortedDictionary<Crid, Memory>();
        var memory = Memory.Random(random.Next(), pages, zeroEvery: 11);
        all.Add(new Crid(temp.Capture(memory, series).Crid), memory);
        while (all.Count < length)
        {
            var next = memory.Clone();
            for (var i = 0; i < 6; i++) next.Fill(random.Next(), random.Next(pages + 400), random.Next(1, 60), zeroEvery: random.Next(3) * 5);
            for (var i = 0; i < 3; i++)
                for (ulong p = (ulong)random.Next(pages), end = p + (ulong)random.Next(30); p < end; p++) next.Remove(p);
            all.Add(new Crid(Increment(temp, memory, next, series)), memory = next);
        }

        return all;
    }

    /// <summary>An increment that keeps what is equal and writes what isn't.</summary>
    public static ulong Increment(TempStore temp, Memory parent, Memory now, string series = "s")
    {
        using var store = temp.Open();
        using var writer = store.BeginCapture(series, full: false);
        var space = writer.OpenSpace(new SpaceId(0), new SpaceId(0));
        bool Same(ulong p) => parent.Pages.TryGetValue(p, out var old) && old.AsSpan().SequenceEqual(now.Pages[p]);
        now.Keep(space, Same);
        now.WriteTo(space, now.Pages.Keys.Where(p => !Same(p)));
        return writer.Commit(Memory.Manifest()).Crid;
    }

    /// <summary>Every checkpoint restores exactly, and there is no other.</summary>
    public static void AssertAll(CheckpointStore store, SortedDictionary<Crid, Memory> expected)
    {
        using var reader = store.OpenReader();
        Xunit.Assert.Equal(expected.Keys, reader.Headers().Select(h => new Crid(h.Crid)));
        foreach (var (crid, memory) in expected)
        {
            using var image = reader.OpenImage(crid);
            memory.AssertEquals(image);
        }
    }
}
