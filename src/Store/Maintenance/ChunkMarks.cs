using System.Numerics;
using Crstore.Model;
using Crstore.Store.Frames;

namespace Crstore.Store.Maintenance;

/// <summary>A set of chunks, two bytes per frame: the slots of each frame that are in it.</summary>
internal sealed class ChunkMarks
{
    private readonly SortedDictionary<Crid, ushort[]> _slots = [];
    private Crid _last;
    private ushort[]? _lastSlots;

    /// <summary>Chunks in the set.</summary>
    public ulong Count { get; private set; }

    /// <summary>The CRIDs that stored some of them, in order.</summary>
    public IEnumerable<Crid> Crids => _slots.Keys;

    /// <summary>Adds a chunk; false if it was in already.</summary>
    public bool Add(ChunkLocation chunk)
    {
        ref var slots = ref Room(FrameId.Of(chunk));
        var bit = (ushort)(1 << chunk.Slot);
        if ((slots & bit) != 0) return false;
        slots |= bit;
        Count++;
        return true;
    }

    /// <summary>Adds consecutive chunks.</summary>
    public void Add(ChunkLocation first, ulong count)
    {
        for (ulong i = 0; i < count;)
        {
            var at = first with { Ordinal = (uint)(first.Ordinal + i) };
            var here = (int)Math.Min((ulong)(ChunkLocation.SlotsPerFrame - at.Slot), count - i);
            Add(FrameId.Of(at), (ushort)(((1 << here) - 1) << at.Slot));
            i += (ulong)here;
        }
    }

    /// <summary>Adds slots of a frame.</summary>
    public void Add(FrameId frame, ushort mask)
    {
        if (mask == 0) return;
        ref var slots = ref Room(frame);
        Count += (ulong)BitOperations.PopCount((uint)(mask & ~slots));
        slots |= mask;
    }

    /// <summary>The slots of a frame that are in the set.</summary>
    public ushort Slots(FrameId frame) => Of(frame.Crid) is { } slots && frame.Number < (uint)slots.Length ? slots[frame.Number] : (ushort)0;

    /// <summary>True if the chunk is in the set.</summary>
    public bool Contains(ChunkLocation chunk) => (Slots(FrameId.Of(chunk)) >> chunk.Slot & 1) != 0;

    /// <summary>True if a CRID stored any chunk of the set.</summary>
    public bool Any(Crid crid) => Of(crid) is { } slots && slots.AsSpan().ContainsAnyExcept((ushort)0);

    /// <summary>The frames of a CRID with slots in the set, in order.</summary>
    public IEnumerable<(FrameId Frame, ushort Slots)> Frames(Crid crid)
    {
        if (Of(crid) is not { } slots) yield break;
        for (uint i = 0; i < slots.Length; i++)
            if (slots[i] != 0) yield return (new FrameId(crid, i), slots[i]);
    }

    /// <summary>All frames with slots in the set, in key order.</summary>
    public IEnumerable<(FrameId Frame, ushort Slots)> Frames() => _slots.Keys.SelectMany(Frames);

    private ushort[]? Of(Crid crid)
    {
        if (crid == _last) return _lastSlots;
        if (!_slots.TryGetValue(crid, out var slots)) return null;
        (_last, _lastSlots) = (crid, slots);
        return slots;
    }

    private ref ushort Room(FrameId frame)
    {
        var slots = Of(frame.Crid);
        if (slots is null || frame.Number >= (uint)slots.Length)
        {
            // A frame number comes from a checked map, but a wrong one must not ask for memory without end.
            if (frame.Number > uint.MaxValue / ChunkLocation.SlotsPerFrame) throw new StoreDamagedException($"{frame}: no such frame can be");
            Array.Resize(ref slots, (int)Math.Max(frame.Number + 1, Math.Min((slots?.Length ?? 16) * 2L, uint.MaxValue / ChunkLocation.SlotsPerFrame + 1)));
            _slots[frame.Crid] = slots;
            (_last, _lastSlots) = (frame.Crid, slots);
        }

        return ref slots[frame.Number];
    }
}
