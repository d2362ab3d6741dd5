using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Store.Reading;

namespace Crstore.Store.Writing;

/// <summary>
/// Turns page contents into chunk locations: hashes, probes and makes patches in parallel, gives new chunks their ordinals in
/// capture order, and passes them on to be compressed and spooled. Runs are gathered until they make a batch: an increment
/// of scattered pages would occupy one core alone. One per capture: chunks are shared by all address spaces.
/// </summary>
internal sealed class ChunkSink : IDisposable
{
    private const int GatheredPages = PageHasher.BatchPages / 4; // longer runs are worth a batch of their own: copying a page costs a tenth of hashing it
    private const int ManyPages = PageHasher.BatchPages / 2; // new ones of a window of a base: worth a table file. An increment's are not, however many: a watch would leave one at each turn
    private const int Ahead = 8; // pages whose places in the table are fetched before they are needed
    private readonly Crid crid;
    private readonly FreshChunks fresh;
    private readonly FreshOrdinals ordinals = new();
    private readonly PageHasher hasher;
    private readonly PagePatcher patcher;
    private readonly FramePipeline pipeline;
    private readonly PatchSink patches;
    private readonly List<Run> gathered = [];
    private readonly SinkBuffers buffers;
    private int bufferedPages;
    private uint moved;

    public ChunkSink(StorePaths paths, Crid crid, RocksDb snapshot, ChunkLookup chunks, StoreOptions options, StoreKeeper? keeper)
    {
        this.crid = crid;
        buffers = keeper?.Buffers ?? new SinkBuffers();
        Frames = new RecordSpool(paths, crid, ColumnFamily.Chunks, options.SmallCapturePages / ChunkLocation.SlotsPerFrame);
        patches = new PatchSink(paths, crid, options);
        fresh = new FreshChunks(paths.IncomingHashes(crid), options.AddressesInMemory);
        hasher = new PageHasher(snapshot, fresh);
        patcher = new PagePatcher(snapshot, chunks, keeper?.Known.Anchors, buffers);
        pipeline = new FramePipeline(crid, options.Compression, Frames);
    }

    /// <summary>Told of each page in the order in which they were given: zero (no location) or a chunk.</summary>
    public delegate void PageHandler(VirtualPage page, ChunkLocation? location);

    /// <summary>Where frames wait.</summary>
    public RecordSpool Frames { get; }

    /// <summary>Where patch groups wait.</summary>
    public RecordSpool Patches => patches.Spool;

    /// <summary>An error came in the middle of a batch: some handlers were told and others never will be. It takes and gives nothing any more.</summary>
    public bool Failed { get; private set; }

    /// <summary>Pages taken.</summary>
    public ulong Read { get; private set; }

    /// <summary>Of them all zero.</summary>
    public ulong Zero { get; private set; }

    /// <summary>This capture's chunks, in the order in which they came: what the index will get.</summary>
    public FreshChunks Fresh => fresh;

    /// <summary>Chunks new to the store: the others were only moved.</summary>
    public uint NewChunks => fresh.Count - moved;

    /// <summary>Patches among the chunks.</summary>
    public uint PatchCount { get; private set; }

    /// <summary>Where a new chunk will be.</summary>
    public ChunkLocation LocationOf(uint sequence) => new(crid, ordinals[sequence]);

    /// <summary>Takes consecutive pages; their memory is free again when this returns, but the handler may be told later.</summary>
    /// <param name="first">Address of the first one.</param>
    /// <param name="pages">Their content.</param>
    /// <param name="parent">The page map that has what was there before; null for none.</param>
    /// <param name="handler">Told.</param>
    public void Take(VirtualPage first, ReadOnlyMemory<byte> pages, PageMap? parent, PageHandler handler)
    {
        ThrowIfFailed();
        Read += (ulong)(pages.Length / VirtualPage.Size);
        while (!pages.IsEmpty)
        {
            var count = Math.Min(pages.Length / VirtualPage.Size, PageHasher.BatchPages - bufferedPages);
            var part = pages[..(count * VirtualPage.Size)];
            var run = new Run(first, count, parent, handler);
            if (bufferedPages == 0 && count > GatheredPages)
            {
                gathered.Add(run);
                Process(part);
            }
            else
            {
                Gather(run, part.Span);
            }

            pages = pages[part.Length..];
            first += (ulong)count;
        }
    }

    /// <summary>Takes runs that lie side by side in memory that is lent: enough of them are a batch as they are, and are not copied.</summary>
    /// <param name="runs">Addresses.</param>
    /// <param name="pages">Their content.</param>
    /// <param name="parent">The page map that has what was there before; null for none.</param>
    /// <param name="handler">Told.</param>
    /// <param name="loan">Returned once nothing here reads the memory any more.</param>
    public void Take(IReadOnlyList<PageRange> runs, ReadOnlyMemory<byte> pages, PageMap? parent, PageHandler handler, PageLoan loan)
    {
        var count = pages.Length / VirtualPage.Size;
        if (count is <= GatheredPages or > PageHasher.BatchPages)
        {
            foreach (var run in runs)
            {
                Take(run.Start, pages[..(int)run.SizeBytes], parent, handler);
                pages = pages[(int)run.SizeBytes..];
            }

            return;
        }

        Flush(); // what came before has its turn first
        Read += (ulong)count;
        foreach (var run in runs) gathered.Add(new Run(run.Start, (int)run.Count, parent, handler));
        var before = pipeline.Count;
        Process(pages, loan);
        if (parent is null && pipeline.Count - before >= ManyPages) Frames.ExpectMany(); // most are still being packed
    }

    /// <summary>Works off what was gathered: after this all handlers have been told.</summary>
    /// <exception cref="InvalidOperationException">It has failed before.</exception>
    public void Flush()
    {
        ThrowIfFailed();
        if (bufferedPages > 0) Process(buffers.Gathered.AsMemory(0, bufferedPages * VirtualPage.Size));
        bufferedPages = 0;
    }

    /// <summary>Stores a patch that the store has in another place again: <see cref="PatchCleaner"/>. Everything was flushed before.</summary>
    /// <returns>Its new place.</returns>
    public ChunkLocation Move(in ContentHash hash, ChunkLocation anchor, ReadOnlySpan<byte> patch)
    {
        ThrowIfFailed();
        if (fresh.TryAdd(hash, out var sequence))
        {
            Failed = true; // unless it gets to its end
            AddPatch(hash, anchor, patch);
            moved++;
            Failed = false;
        }

        return LocationOf(sequence);
    }

    /// <summary>Waits until the spools have everything.</summary>
    public void Complete()
    {
        Flush();
        patches.Complete();
        pipeline.Complete();
    }

    /// <summary>Drops everything that was not ingested.</summary>
    public void Dispose()
    {
        pipeline.Dispose();
        Frames.Dispose();
        patches.Dispose();
        fresh.Dispose();
    }

    private void Gather(in Run run, ReadOnlySpan<byte> pages)
    {
        pages.CopyTo(buffers.Gathered.AsSpan(bufferedPages * VirtualPage.Size));
        bufferedPages += run.Count;
        gathered.Add(run);
        if (bufferedPages == PageHasher.BatchPages) Flush();
    }

    private void ThrowIfFailed()
    {
        if (Failed) throw new InvalidOperationException("what this capture was given is lost in part: an error came while it was taken in");
    }

    private void Process(ReadOnlyMemory<byte> batch, PageLoan? loan = null)
    {
        Failed = true; // unless it gets to its end
        hasher.Process(batch);
        var pages = batch.Length / VirtualPage.Size;
        patcher.Start(pages);
        var index = 0;
        foreach (var run in gathered)
        {
            if (run.Parent is { } parent)
                for (var i = 0; i < run.Count; i++)
                    if (hasher.Fates[index + i] == PageFate.Fresh) patcher.Note(index + i, parent, run.First + (ulong)i);
            index += run.Count;
        }

        patcher.Process(batch);
        try
        {
            Assign(batch, loan);
        }
        finally
        {
            pipeline.Settle(); // what waits for more pages must not keep anything that is lent
        }

        gathered.Clear();
        Failed = false;
    }

    private void Assign(ReadOnlyMemory<byte> batch, PageLoan? loan)
    {
        var (pages, index) = (batch.Length / VirtualPage.Size, 0);
        foreach (var run in gathered)
            for (var i = 0; i < run.Count; i++, index++)
            {
                if (index + Ahead < pages && hasher.Fates[index + Ahead] == PageFate.Fresh) fresh.Prefetch(hasher.Hashes[index + Ahead]);
                run.Handler(run.First + (ulong)i, Assign(index, batch, loan));
            }
    }

    private ChunkLocation? Assign(int index, ReadOnlyMemory<byte> batch, PageLoan? loan)
    {
        switch (hasher.Fates[index])
        {
            case PageFate.Zero:
                Zero++;
                return null;
            case PageFate.Stored:
                return hasher.Locations[index];
            case PageFate.Taken:
                return LocationOf(hasher.SequenceOf(index));
            default:
                return LocationOf(NewChunk(index, batch, loan));
        }
    }

    private uint NewChunk(int index, ReadOnlyMemory<byte> batch, PageLoan? loan)
    {
        ref readonly var hash = ref hasher.Hashes[index];
        if (!fresh.TryAdd(hash, out var sequence)) return sequence; // twice in one batch
        var patch = patcher.PatchOf(index, out var anchor);
        if (patch.IsEmpty) ordinals.Add(pipeline.Add(hash, batch, index * VirtualPage.Size, loan));
        else AddPatch(hash, anchor, patch);
        return sequence;
    }

    private void AddPatch(in ContentHash hash, ChunkLocation anchor, ReadOnlySpan<byte> patch)
    {
        ordinals.Add(patches.Add(hash, anchor, patch));
        PatchCount++;
    }

    private readonly record struct Run(VirtualPage First, int Count, PageMap? Parent, PageHandler Handler);
}
