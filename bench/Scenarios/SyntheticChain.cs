using Crstore.Model;
using Crstore.Store;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>How the increments of a chain change 1 % of the pages.</summary>
internal enum ChainChange
{
    /// <summary>16 to 64 bytes of each, anywhere: a hash table, counters, reference counts, an allocator's lists.</summary>
    FewBytes,

    /// <summary>Whole pages of a hot twentieth that is rewritten again and again.</summary>
    HotPages,

    /// <summary>Whole pages, anywhere.</summary>
    AnyPages,
}

/// <summary>A long chain, written through the store's own interface.</summary>
internal static class SyntheticChain
{
    /// <summary>Commits a base and increments to it; returns the CRIDs.</summary>
    /// <param name="directory">The store; made here.</param>
    /// <param name="length">How many checkpoints.</param>
    /// <param name="pages">Of the process.</param>
    /// <param name="change">What the increments change.</param>
    /// <param name="seed">Of content and places.</param>
    /// <param name="committed">Is shown the whole memory after each commit; the number counts from 0.</param>
    public static List<Crid> Fill(string directory, int length, int pages, ChainChange change, int seed, Action<int, ReadOnlyMemory<byte>>? committed = null)
    {
        var random = new Random(seed);
        var series = new SyntheticSeries("chain", (ulong)pages);
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(directory), out _);
        var content = new byte[pages * VirtualPage.Size].AsMemory();
        for (var page = 0; page < pages; page++) Pattern.Fill(PageOf(content, page).Span, (ulong)seed, 1, (ulong)page);
        var crids = new List<Crid> { series.Add(store, Enumerable.Range(0, pages).Select(p => ((ulong)p, (ReadOnlyMemory<byte>)PageOf(content, p)))) };
        committed?.Invoke(0, content);
        for (var i = 2; i <= length; i++)
        {
            var changed = new SortedSet<int>();
            while (changed.Count < pages / 100) changed.Add(random.Next(change == ChainChange.HotPages ? pages / 20 : pages));
            foreach (var page in changed)
            {
                var there = PageOf(content, page).Span;
                if (change == ChainChange.FewBytes) ChangeBytes(there, random);
                else Pattern.Fill(there, (ulong)seed, (ulong)i, (ulong)page);
            }

            crids.Add(series.Add(store, changed.Select(p => ((ulong)p, (ReadOnlyMemory<byte>)PageOf(content, p)))));
            committed?.Invoke(i - 1, content);
        }

        return crids;
    }

    private static Memory<byte> PageOf(Memory<byte> memory, int page) => memory.Slice(page * VirtualPage.Size, VirtualPage.Size);

    /// <summary>Four places of 4 to 16 bytes.</summary>
    private static void ChangeBytes(Span<byte> page, Random random)
    {
        for (var i = 0; i < 4; i++) random.NextBytes(page.Slice(random.Next(VirtualPage.Size - 16), random.Next(4, 17)));
    }
}
