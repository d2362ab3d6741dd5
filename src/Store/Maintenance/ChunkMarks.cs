using System.Numerics;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Patches;

namespace Crstore.Store.Maintenance;

/// <summary>A set of chunks, a bit each: by CRID, pages in frames and patches apart, two bytes for 16 of them.</summary>
internal sealed class ChunkMarks
{
    // The patches of a CRID are counted in sixteens as its pages are, four to a group.
    private const uint FirstPatchWord = ChunkLocation.FirstPatch / ChunkLocation.SlotsPerFrame;
    private const int WordsPerGroup = PatchGroupId.Slots / ChunkLocation.SlotsPerFrame;

    private readonly SortedDictionary<Crid, Words> _words = [];
    private Crid _last;
    private Words? _lastWords;

    /// <summary>Chunks in the set.</summary>
    public ulong Count { get; private set; }

    /// <summary>Patches among them.</summary>
    public ulong Patches { get; private set; }

    /// <summary>The CRIDs that stored some of them, in order.</summary>
    public IEnumerable<Crid> Crids => _words.Keys;

    /// <summary>Adds a chunk; false if it was in already.</summary>
    public bool Add(ChunkLocation chunk)
    {
        var before = Count;
        AddWord(chunk.Crid, chunk.Frame, (ushort)(1 << chunk.Slot));
        return Count > before;
    }

    /// <summary>Adds consecutive chunks.</summary>
    public void Add(ChunkLocation first, ulong count)
    {
        for (ulong i = 0; i < count;)
        {
            var at = first with { Ordinal = (uint)(first.Ordinal + i) };
            var here = (int)Math.Min((ulong)(ChunkLocation.SlotsPerFrame - at.Slot), count - i);
            AddWord(at.Crid, at.Frame, (ushort)(((1 << here) - 1) << at.Slot));
            i += (ulong)here;
        }
    }

    /// <summary>Adds slots of a frame.</summary>
    public void Add(FrameId frame, ushort mask)
    {
        // A frame number comes from a checked map, but a wrong one must not ask for memory without end.
        if (frame.Number >= FirstPatchWord) throw new StoreDamagedException($"{frame}: no such frame can be");
        AddWord(frame.Crid, frame.Number, mask);
    }

    /// <summary>Adds all chunks of another set.</summary>
    public void Add(ChunkMarks other)
    {
        foreach (var (crid, words) in other._words)
        {
            for (uint i = 0; i < words.Pages.Length; i++) AddWord(crid, i, words.Pages[i]);
            for (uint i = 0; i < words.Patches.Length; i++) AddWord(crid, FirstPatchWord + i, words.Patches[i]);
        }
    }

    /// <summary>The slots of a frame that are in the set.</summary>
    public ushort Slots(FrameId frame) => Of(frame.Crid) is { } words && frame.Number < (uint)words.Pages.Length ? words.Pages[frame.Number] : (ushort)0;

    /// <summary>The slots of a patch group that are in the set.</summary>
    public ulong Slots(PatchGroupId group) => Of(group.Crid) is { } words ? words.Group(group.Number) : 0;

    /// <summary>True if the chunk is in the set.</summary>
    public bool Contains(ChunkLocation chunk) => chunk.IsPatch
        ? (Slots(PatchGroupId.Of(chunk)) >> PatchGroupId.SlotOf(chunk) & 1) != 0
        : (Slots(FrameId.Of(chunk)) >> chunk.Slot & 1) != 0;

    /// <summary>True if a CRID stored any chunk of the set.</summary>
    public bool Any(Crid crid) => Of(crid) is { } words && (words.Pages.AsSpan().ContainsAnyExcept((ushort)0) || words.Patches.AsSpan().ContainsAnyExcept((ushort)0));

    /// <summary>The frames of a CRID with slots in the set, in order.</summary>
    public IEnumerable<(FrameId Frame, ushort Slots)> Frames(Crid crid)
    {
        if (Of(crid) is not { } words) yield break;
        for (uint i = 0; i < words.Pages.Length; i++)
            if (words.Pages[i] != 0) yield return (new FrameId(crid, i), words.Pages[i]);
    }

    /// <summary>All frames with slots in the set, in key order.</summary>
    public IEnumerable<(FrameId Frame, ushort Slots)> Frames() => _words.Keys.SelectMany(Frames);

    /// <summary>The patch groups of a CRID with slots in the set, in order.</summary>
    public IEnumerable<(PatchGroupId Group, ulong Slots)> Groups(Crid crid)
    {
        if (Of(crid) is not { } words) yield break;
        for (uint i = 0; i * WordsPerGroup < words.Patches.Length; i++)
            if (words.Group(i) is not 0 and var slots) yield return (new PatchGroupId(crid, i), slots);
    }

    /// <summary>All patch groups with slots in the set, in key order.</summary>
    public IEnumerable<(PatchGroupId Group, ulong Slots)> Groups() => _words.Keys.SelectMany(Groups);

    private void AddWord(Crid crid, uint number, ushort mask)
    {
        if (mask == 0) return;
        if (Of(crid) is not { } words)
        {
            _words.Add(crid, words = new Words());
            (_last, _lastWords) = (crid, words);
        }

        var patches = number >= FirstPatchWord;
        ref var word = ref words.Room(patches, patches ? number - FirstPatchWord : number);
        var added = (ulong)BitOperations.PopCount((uint)(mask & ~word));
        word |= mask;
        Count += added;
        if (patches) Patches += added;
    }

    private Words? Of(Crid crid)
    {
        if (crid == _last) return _lastWords;
        if (!_words.TryGetValue(crid, out var words)) return null;
        (_last, _lastWords) = (crid, words);
        return words;
    }

    /// <summary>One CRID's.</summary>
    private sealed class Words
    {
        private ushort[] _pages = [], _patches = [];

        public ushort[] Pages => _pages;

        public ushort[] Patches => _patches;

        public ulong Group(uint number)
        {
            ulong slots = 0;
            var first = (long)number * WordsPerGroup;
            for (var i = 0; i < WordsPerGroup && first + i < _patches.Length; i++) slots |= (ulong)_patches[first + i] << (i * ChunkLocation.SlotsPerFrame);
            return slots;
        }

        public ref ushort Room(bool patch, uint number)
        {
            ref var words = ref patch ? ref _patches : ref _pages;
            if (number >= (uint)words.Length) Array.Resize(ref words, (int)Math.Max(number + 1, Math.Min(Math.Max(words.Length, 16) * 2L, FirstPatchWord)));
            return ref words[number];
        }
    }
}
