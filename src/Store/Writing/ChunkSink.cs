using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Native;

namespace Crstore.Store.Writing;

/// <summary>
/// Turns page contents into chunk locations: hashes and probes in parallel, gives new chunks their ordinals in capture
/// order, and passes them on to be compressed and spooled. One per capture: chunks are shared by all address spaces.
/// </summary>
internal sealed class ChunkSink : IDisposable
{
    private readonly Crid crid;
    private readonly FreshChunks fresh = new();
    private readonly PageHasher hasher;
    private readonly FramePipeline pipeline;

    public ChunkSink(StorePaths paths, Crid crid, RocksDb snapshot, StoreOptions options)
    {
        this.crid = crid;
        Spool = new FrameSpool(paths, crid, options.SmallCapturePages);
        hasher = new PageHasher(snapshot, fresh);
        pipeline = new FramePipeline(crid, options.Compression, Spool);
    }

    /// <summary>Told of each run of pages: zero (no location) or a chunk.</summary>
    public delegate void PageHandler(VirtualPage page, ChunkLocation? location);

    /// <summary>Where frames wait.</summary>
    public FrameSpool Spool { get; }

    /// <summary>Pages taken.</summary>
    public ulong Read { get; private set; }

    /// <summary>Of them all zero.</summary>
    public ulong Zero { get; private set; }

    /// <summary>Chunks new to the store: what the index will get.</summary>
    public FreshChunks Fresh => fresh;

    /// <summary>Takes consecutive pages; their memory is free again when this returns.</summary>
    public void Take(VirtualPage first, ReadOnlyMemory<byte> pages, PageHandler handler)
    {
        while (!pages.IsEmpty)
        {
            var bytes = Math.Min(pages.Length, PageHasher.BatchPages * VirtualPage.Size);
            var batch = pages[..bytes];
            pages = pages[bytes..];
            hasher.Process(batch);
            first = Assign(first, batch.Span, handler);
        }
    }

    /// <summary>Waits until the spool has all frames.</summary>
    public void Complete() => pipeline.Complete();

    /// <summary>Drops everything that was not ingested.</summary>
    public void Dispose()
    {
        pipeline.Dispose();
        Spool.Dispose();
    }

    private VirtualPage Assign(VirtualPage page, ReadOnlySpan<byte> memory, PageHandler handler)
    {
        var count = memory.Length / VirtualPage.Size;
        Read += (ulong)count;
        for (var i = 0; i < count; i++, page += 1)
        {
            switch (hasher.Fates[i])
            {
                case PageFate.Zero:
                    Zero++;
                    handler(page, null);
                    break;
                case PageFate.Stored:
                    handler(page, hasher.Locations[i]);
                    break;
                case PageFate.Taken:
                    handler(page, new ChunkLocation(crid, hasher.OrdinalOf(i)));
                    break;
                default:
                    handler(page, new ChunkLocation(crid, NewChunk(hasher.Hashes[i], memory.Slice(i * VirtualPage.Size, VirtualPage.Size))));
                    break;
            }
        }

        return page;
    }

    private uint NewChunk(in ContentHash hash, ReadOnlySpan<byte> page)
    {
        if (!fresh.TryAdd(hash, out var ordinal)) return ordinal; // twice in one batch
        var sent = pipeline.Add(hash, page);
        return sent == ordinal ? ordinal : throw new InvalidOperationException($"chunk {ordinal} went into the pipeline as {sent}");
    }
}
