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
        var units = (batch.Length / VirtualPage.Size + UnitPages - 1) / UnitPages;
        if (units == 1) Unit(0);
        else AllCores.For(0, units, Unit);
        pages = default;
    }

    // The first capture of a store: a probe that finds nothing costs a twentieth of compressing the page.
    private static bool HasIndex(RocksDb snapshot)
    {
        using var first = snapshot.Iterate(ColumnFamily.Index);
        return first.SeekToFirst();
    }

    private void Unit(int unit)
    {
        var first = unit * UnitPages;
        var count = Math.Min(UnitPages, pages.Length / VirtualPage.Size - first);
        var memory = pages.Span;
        Span<byte> keys = stackalloc byte[UnitPages * ContentHash.Size];
        Span<int> asked = stackalloc int[UnitPages];
        var questions = 0;
        for (var i = first; i < first + count; i++)
        {
            var page = memory.Slice(i * VirtualPage.Size, VirtualPage.Size);
            fates[i] = page.ContainsAnyExcept((byte)0) ? PageFate.Fresh : PageFate.Zero;
            if (fates[i] == PageFate.Zero) continue;
            hashes[i] = PageHash.Of(page);
            taken.Prefetch(hashes[i]);
        }

        for (var i = first; i < first + count; i++)
        {
            if (fates[i] == PageFate.Zero) continue;
            var hash = hashes[i];
            if (taken.TryFind(hash, out _))
            {
                fates[i] = PageFate.Taken;
                continue;
            }

            if (!hasIndex)
            {
                fates[i] = PageFate.Fresh;
                continue;
            }

            hash.Write(keys[(questions * ContentHash.Size)..]);
            asked[questions++] = i;
        }

        if (questions > 0) Probe(keys[..(questions * ContentHash.Size)], asked[..questions]);
    }

    private void Probe(ReadOnlySpan<byte> keys, ReadOnlySpan<int> asked)
    {
        Span<byte> values = stackalloc byte[UnitPages * Keys.LocationSize];
        Span<bool> found = stackalloc bool[asked.Length];
        filters.Count(asked.Length);
        snapshot.MultiGet(ColumnFamily.Index, keys, ContentHash.Size, values, Keys.LocationSize, found);
        for (var q = 0; q < asked.Length; q++)
        {
            fates[asked[q]] = found[q] ? PageFate.Stored : PageFate.Fresh;
            if (found[q]) locations[asked[q]] = Keys.LocationOf(values.Slice(q * Keys.LocationSize, Keys.LocationSize));
        }
    }
}
