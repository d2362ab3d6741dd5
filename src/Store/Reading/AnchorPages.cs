using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;

namespace Crstore.Store.Reading;

/// <summary>
/// Pages that patches were made against, and their neighbours in a frame, for the next capture of the same process: unpacking a frame of sixteen for one of
/// them takes ten times as long as making the patch. Each is checked before it is first used. That the store still has it, at that place, is
/// known (<see cref="KeptKnowledge"/>), or after <see cref="Doubt"/> asked of the index once more. Thread safe.
/// </summary>
internal sealed class AnchorPages
{
    private const long MaxBytes = 256 << 20;
    private const int SlabPages = 256;

    private readonly Lock gate = new();
    private readonly int capacity = (int)(Math.Min(MaxBytes, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 64) / VirtualPage.Size);
    private readonly Dictionary<ChunkLocation, int> places = [];
    private readonly List<Entry> entries = [];
    private readonly List<byte[]> slabs = [];
    private int oldest;
    private int doubts;

    /// <summary>
    /// <see cref="AddNeighbours"/> remembers them: the default. They pay where captures come so often that each finds few pages changed, of many frames. Where much has changed
    /// since the last one, it takes longer to copy them than to unpack again those few that are wanted again.
    /// </summary>
    public bool TakesNeighbours { get; set; } = true;

    /// <summary>Whether the store still has any of them is to be asked anew.</summary>
    public void Doubt()
    {
        lock (gate) doubts++;
    }

    /// <summary>Copies a page that is known, and that the store still has.</summary>
    /// <param name="db">The store.</param>
    /// <param name="location">Where it has it.</param>
    /// <param name="page">Gets it.</param>
    public bool TryRead(RocksDb db, ChunkLocation location, Span<byte> page)
    {
        Entry entry;
        bool known;
        lock (gate)
        {
            if (!places.TryGetValue(location, out var place)) return false;
            entry = entries[place];
            known = entry.Checked && entry.Doubts == doubts;
            Slot(place).CopyTo(page);
        }

        if (known) return true;
        if (!entry.Checked && PageHash.Of(page) != entry.Hash) return false; // who reads its frame is told
        if (entry.Doubts != doubts && !IsIndexed(db, entry)) return false;
        lock (gate)
            if (places.TryGetValue(location, out var place) && entries[place].Hash == entry.Hash) entries[place] = entry with { Checked = true, Doubts = doubts };
        return true;
    }

    /// <summary>Remembers a page that was read and checked, in place of what was remembered of it, or of the oldest one if there are enough.</summary>
    public void Add(ChunkLocation location, in ContentHash hash, ReadOnlySpan<byte> page)
    {
        lock (gate)
        {
            if (capacity == 0) return;
            var entry = new Entry(location, hash, true, doubts);
            if (places.TryGetValue(location, out var place))
            {
                entries[place] = entry;
                page.CopyTo(Slot(place));
            }
            else
            {
                AddNew(entry, page);
            }
        }
    }

    /// <summary>Remembers the other pages of a frame that is unpacked, as long as that takes no other one's place.</summary>
    public void AddNeighbours(FrameReader frame)
    {
        if (!TakesNeighbours) return;
        lock (gate)
            if (entries.Count >= capacity) return;

        // Not under the lock: of a frame with a dictionary they are made from its pages.
        Span<ContentHash> hashes = stackalloc ContentHash[ChunkLocation.SlotsPerFrame];
        for (var slot = 0; slot < frame.Slots; slot++)
            if (frame.IsLive(slot)) hashes[slot] = frame.Hash(slot);
        lock (gate)
        {
            for (var slot = 0; slot < frame.Slots && entries.Count < capacity; slot++)
            {
                if (!frame.IsLive(slot)) continue;
                var location = frame.Id.Location(slot);
                if (!places.ContainsKey(location)) AddNew(new Entry(location, hashes[slot], false, doubts), frame.Unchecked(slot));
            }
        }
    }

    private static bool IsIndexed(RocksDb db, in Entry entry)
    {
        Span<byte> key = stackalloc byte[ContentHash.Size];
        entry.Hash.Write(key);
        using var value = db.GetPinned(ColumnFamily.Index, key);
        return value.Exists && Keys.LocationOf(value.Span) == entry.Location;
    }

    private void AddNew(in Entry entry, ReadOnlySpan<byte> page)
    {
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

        places[entry.Location] = place;
        entries[place] = entry;
        page.CopyTo(Slot(place));
    }

    private Span<byte> Slot(int place) => slabs[place / SlabPages].AsSpan(place % SlabPages * VirtualPage.Size, VirtualPage.Size);

    /// <summary>A page that is remembered.</summary>
    /// <param name="Location">Where the store has it.</param>
    /// <param name="Hash">Its content address.</param>
    /// <param name="Checked">It is what that says.</param>
    /// <param name="Doubts">How often all was doubted before the store was last known to have it.</param>
    private readonly record struct Entry(ChunkLocation Location, ContentHash Hash, bool Checked, int Doubts);
}
