using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;

namespace Crstore.Store.Maintenance;

/// <summary>Reads every frame that is referred to once, in stored order, and checks batches of them on all cores.</summary>
internal sealed class FrameVerifier(RocksDb db, VerifyOptions options, BadChunks bad, IProgress<StoreProgress>? progress, CancellationToken cancel)
{
    private const int BatchFrames = 128;

    private readonly Random _random = new();
    private ulong _pagesRead;

    /// <summary>Frames whose content was read back.</summary>
    public ulong FramesRead { get; private set; }

    /// <summary>Pages whose content address was checked.</summary>
    public ulong PagesRead => _pagesRead;

    /// <summary>Content addresses of the chunks that are sound.</summary>
    public HashPrefixes Hashes { get; } = new();

    /// <summary>Checks the frames of the given chunks; notes those that are bad.</summary>
    public void Check(ChunkMarks referred)
    {
        ulong done = 0;
        foreach (var batch in referred.Frames().Chunk(BatchFrames))
        {
            cancel.ThrowIfCancellationRequested();
            progress?.Report(new StoreProgress("checking frames, chunks", done, referred.Count));
            var work = batch.Select(f => new Item(f.Frame, f.Slots, Load(f.Frame)) { Content = Chosen() }).ToArray();
            AllCores.ForEach(work, Check);
            foreach (var item in work)
            {
                done += (ulong)System.Numerics.BitOperations.PopCount((uint)item.Slots);
                if (item.Content) FramesRead++;
                for (var slot = 0; slot < ChunkLocation.SlotsPerFrame; slot++)
                    if ((item.Good >> slot & 1) != 0) Hashes.Add(item.Frame.Location(slot), item.Reader!.HashStart(slot));
            }
        }
    }

    private bool Chosen() => options.DataPercent >= 100 || (options.DataPercent > 0 && _random.NextDouble() * 100 < options.DataPercent);

    private byte[]? Load(FrameId id)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.Frame(id, key);
        try
        {
            return db.Get(ColumnFamily.Chunks, key);
        }
        catch (StoreDamagedException e)
        {
            lock (bad) bad.Add(id, $"{id}: {e.Message}"); // RocksDB's own checksum
            return null;
        }
    }

    private void Check(Item item)
    {
        FrameReader frame;
        try
        {
            item.Reader = frame = FrameReader.Parse(item.Frame, item.Bytes ?? ReadOnlyMemory<byte>.Empty, db.Dictionaries);
            if (frame.Dictionary is { } needed && db.Dictionaries.Find(needed) is not { Damage: null }) item.Content = true; // which pages that costs, only they tell
        }
        catch (StoreDamagedException e)
        {
            lock (bad)
                if (bad.Find(item.Frame.Location(0)) is null) bad.Add(item.Frame, e.Message);
            return;
        }

        for (var slot = 0; slot < ChunkLocation.SlotsPerFrame; slot++)
        {
            if ((item.Slots >> slot & 1) == 0) continue;
            try
            {
                if (item.Content) frame.Page(slot);
                else frame.HashStart(slot);
                if (item.Content) Interlocked.Increment(ref _pagesRead);
                item.Good |= (ushort)(1 << slot);
            }
            catch (StoreDamagedException e)
            {
                lock (bad) bad.Add(item.Frame.Location(slot), e.Message);
            }
        }
    }

    private sealed record Item(FrameId Frame, ushort Slots, byte[]? Bytes)
    {
        public bool Content { get; set; }

        public FrameReader? Reader { get; set; }

        public ushort Good { get; set; }
    }
}
