using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Reading;

/// <summary>
/// Pages that patches were made against, for the next capture of the same process: unpacking a frame of sixteen for one of them takes ten times as long
/// as making the patch. Each was checked when it came in; that the store still has it, at that place, is asked each time. Thread safe.
/// </summary>
internal sealed class AnchorPages
{
    private const long MaxBytes = 256 << 20;
    private const int SlabPages = 256;

    private readonly Lock gate = new();
    private readonly int capacity = (int)(Math.Min(MaxBytes, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 64) / VirtualPage.Size);
    private readonly Dictionary<ChunkLocation, int> places = [];
    private readonly List<(ChunkLocation Location, ContentHash Hash)> entries = [];
    private readonly List<byte[]> slabs = [];
    private int oldest;

    /// <summary>Copies a page that is known, and that the store still has.</summary>
    /// <param name="db">The store.</param>
    /// <param name="location">Where it has it.</param>
    /// <param name="page">Gets it.</param>
    public bool TryRead(RocksDb db, ChunkLocation location, Span<byte> page)
    {
        ContentHash hash;
        lock (gate)
        {
            if (!places.TryGetValue(location, out var place)) return false;
            hash = entries[place].Hash;
            Slot(place).CopyTo(page);
        }

        Span<byte> key = stackalloc byte[ContentHash.Size];
        hash.Write(key);
        using var value = db.GetPinned(ColumnFamily.Index, key);
        return value.Exists && Keys.LocationOf(value.Span) == location;
    }

    /// <summary>Remembers a page, in place of the oldest one if there are enough.</summary>
    public void Add(ChunkLocation location, in ContentHash hash, ReadOnlySpan<byte> page)
    {
        lock (gate)
        {
            if (capacity == 0 || places.ContainsKey(location)) return;
            var place = entries.Count;
            if (place < capacity)
            {
                if (place / SlabPages == slabs.Count) slabs.Add(GC.AllocateUninitializedArray<byte>(SlabPages * VirtualPage.Size));
                entries.Add(default);
            }
            else
            {
                place = oldest;
                oldest = (oldest + 1) % capacity;
                places.Remove(entries[place].Location);
            }

            places[location] = place;
            entries[place] = (location, hash);
            page.CopyTo(Slot(place));
        }
    }

    private Span<byte> Slot(int place) => slabs[place / SlabPages].AsSpan(place % SlabPages * VirtualPage.Size, VirtualPage.Size);
}
