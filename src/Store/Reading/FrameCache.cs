using Crstore.Store.Frames;
using Crstore.Store.Native;

namespace Crstore.Store.Reading;

/// <summary>The frames read last, parsed; unpacked ones keep their pages. Thread safe.</summary>
internal sealed class FrameCache(RocksDb db, int capacity = FrameCache.DefaultCapacity)
{
    /// <summary>Frames kept: about 16 MiB of pages and as much of packed bytes at worst.</summary>
    public const int DefaultCapacity = 256;

    private readonly Lock gate = new();
    private readonly Dictionary<FrameId, FrameReader> frames = new(capacity);
    private readonly Queue<FrameId> order = new(capacity);
    private long fetched;

    /// <summary>Frames fetched from the database so far.</summary>
    public long Fetched => Interlocked.Read(ref fetched);

    /// <summary>A frame.</summary>
    /// <exception cref="Model.StoreDamagedException">It is missing or damaged.</exception>
    public FrameReader Get(FrameId id)
    {
        lock (gate)
            if (frames.TryGetValue(id, out var known)) return known;
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.Frame(id, key);
        Interlocked.Increment(ref fetched);
        var frame = FrameReader.Parse(id, db.Get(ColumnFamily.Chunks, key) ?? ReadOnlyMemory<byte>.Empty);
        lock (gate)
        {
            if (frames.TryGetValue(id, out var known)) return known; // two asked at once
            if (order.Count >= capacity) frames.Remove(order.Dequeue());
            frames.Add(id, frame);
            order.Enqueue(id);
        }

        return frame;
    }
}
