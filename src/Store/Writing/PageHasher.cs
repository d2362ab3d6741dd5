using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Writing;

/// <summary>What is known of a page after hashing and probing.</summary>
internal enum PageFate : byte
{
    /// <summary>All zero.</summary>
    Zero,

    /// <summary>The store had it when the session began.</summary>
    Stored,

    /// <summary>This session has it already.</summary>
    Taken,

    /// <summary>Unknown so far.</summary>
    Fresh,
}

/// <summary>
/// The parallel half of dedup: for a batch of pages, on all cores, the zero test, SHA-256, the look into what this session
/// has already, and one batched probe of the store's index. Its buffers are used again for the next batch.
/// </summary>
internal sealed class PageHasher(RocksDb snapshot, FreshChunks taken)
{
    /// <summary>Pages in a batch.</summary>
    public const int BatchPages = 2048;

    private const int UnitPages = 128;
    private readonly ContentHash[] hashes = new ContentHash[BatchPages];
    private readonly PageFate[] fates = new PageFate[BatchPages];
    private readonly ChunkLocation[] locations = new ChunkLocation[BatchPages];
    private readonly int[] asked = new int[BatchPages];
    private readonly bool hasIndex = HasIndex(snapshot);
    private readonly FilterReadAhead filters = new(snapshot);
    private ReadOnlyMemory<byte> pages;

    /// <summary>Of the last batch.</summary>
    public ReadOnlySpan<ContentHash> Hashes => hashes;

    /// <summary>Of the last batch.</summary>
    public ReadOnlySpan<PageFate> Fates => fates;

    /// <summary>Of the last batch, for stored pages.</summary>
    public ReadOnlySpan<ChunkLocation> Locations => locations;

    /// <summary>Of the last batch, for pages that this session has already.</summary>
    public uint SequenceOf(int page) => taken.TryFind(hashes[page], out var sequence) ? sequence : throw new InvalidOperationException($"page {page} is not taken");

    /// <summary>Looks at up to <see cref="BatchPages"/> pages.</summary>
    public void Process(ReadOnlyMemory<byte> batch)
    {
        pages = batch;
        var count = batch.Length / VirtualPage.Size;
        Units(count, Hash);
        pages = default;
        if (hasIndex) Units(Ask(count), Probe);
    }

    private static void Units(int count, Action<int, int> body)
    {
        var units = (count + UnitPages - 1) / UnitPages;
        if (units == 1) body(0, count);
        else AllCores.For(0, units, unit => body(unit * UnitPages, Math.Min(count, (unit + 1) * UnitPages)));
    }

    // The first capture of a store: a probe that finds nothing costs a twentieth of compressing the page.
    private static bool HasIndex(RocksDb snapshot)
    {
        using var first = snapshot.Iterate(ColumnFamily.Index);
        return first.SeekToFirst();
    }

    private void Hash(int from, int to)
    {
        var memory = pages.Span;
        Span<int> some = stackalloc int[UnitPages];
        var count = 0;
        for (var i = from; i < to; i++)
        {
            fates[i] = memory.Slice(i * VirtualPage.Size, VirtualPage.Size).ContainsAnyExcept((byte)0) ? PageFate.Fresh : PageFate.Zero;
            if (fates[i] == PageFate.Fresh) some[count++] = i;
        }

        PageHash.Of(memory, some[..count], hashes);
        foreach (var i in some[..count]) taken.Prefetch(hashes[i]);

        for (var i = from; i < to; i++)
            if (fates[i] == PageFate.Fresh && taken.TryFind(hashes[i], out _)) fates[i] = PageFate.Taken;
    }

    // What the index is asked, by the first byte of the content address: neighbours share parts of filters and of the index, which RocksDB looks up
    // for 32 keys at a time, in their order.
    private int Ask(int count)
    {
        const int buckets = 256, shift = 56;
        Span<int> next = stackalloc int[buckets];
        next.Clear();
        for (var i = 0; i < count; i++)
            if (fates[i] == PageFate.Fresh) next[(int)(hashes[i].A >> shift)]++;
        var sum = 0;
        foreach (ref var n in next) (n, sum) = (sum, sum + n);
        for (var i = 0; i < count; i++)
            if (fates[i] == PageFate.Fresh) asked[next[(int)(hashes[i].A >> shift)]++] = i;
        return sum;
    }

    private void Probe(int from, int to)
    {
        Span<byte> keys = stackalloc byte[UnitPages * ContentHash.Size], values = stackalloc byte[UnitPages * Keys.LocationSize];
        Span<bool> found = stackalloc bool[to - from];
        for (var i = from; i < to; i++) hashes[asked[i]].Write(keys[((i - from) * ContentHash.Size)..]);
        filters.Count(found.Length);
        snapshot.MultiGet(ColumnFamily.Index, keys[..(found.Length * ContentHash.Size)], ContentHash.Size, values, Keys.LocationSize, found);
        for (var i = from; i < to; i++)
        {
            if (!found[i - from]) continue;
            fates[asked[i]] = PageFate.Stored;
            locations[asked[i]] = Keys.LocationOf(values.Slice((i - from) * Keys.LocationSize, Keys.LocationSize));
        }
    }
}
