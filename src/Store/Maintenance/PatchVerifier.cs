using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Store.Reading;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Checks the patches that are referred to. First what they change, so that it is checked with all other frames; then, with
/// that known, what they make of it: many groups' patches together in the order of their anchors, each anchor's frame once.
/// </summary>
internal sealed class PatchVerifier(RocksDb db, VerifyOptions options, BadChunks bad, IProgress<StoreProgress>? progress, CancellationToken cancel)
{
    private const int BatchPatches = 1 << 16;
    private const long BatchBytes = 64 << 20; // of the groups that they are in

    private readonly Random _random = new();
    private readonly List<Check> _checks = [];
    private ulong _pagesRead;
    private long _bytes;

    /// <summary>Groups whose content was read back.</summary>
    public ulong GroupsRead { get; private set; }

    /// <summary>Pages whose content address was checked.</summary>
    public ulong PagesRead => _pagesRead;

    /// <summary>Adds the anchors of the patches among the given chunks to them; notes groups and slots that are not there.</summary>
    public void AddAnchors(ChunkMarks referred)
    {
        foreach (var (id, slots) in referred.Groups().ToList())
        {
            cancel.ThrowIfCancellationRequested();
            if (TryLoad(id) is not { } group) continue;
            foreach (var slot in SlotsIn(slots))
            {
                if (group.IsLive(slot)) referred.Add(group.Anchor(slot));
                else bad.Add(id.Location(slot), $"{id}: slot {slot} has no content");
            }
        }
    }

    /// <summary>Checks the patches, once all that they change has been.</summary>
    /// <param name="referred">Chunks.</param>
    /// <param name="hashes">Gets the content addresses of those that are there.</param>
    public void Run(ChunkMarks referred, HashPrefixes hashes)
    {
        ulong done = 0;
        foreach (var (id, slots) in referred.Groups())
        {
            cancel.ThrowIfCancellationRequested();
            if (done % 1024 == 0) progress?.Report(new StoreProgress("checking patches", done, referred.Patches));
            done += (ulong)System.Numerics.BitOperations.PopCount(slots);
            if (TryLoad(id) is not { } group) continue; // told already
            var content = options.DataPercent >= 100 || (options.DataPercent > 0 && _random.NextDouble() * 100 < options.DataPercent);
            if (content)
            {
                GroupsRead++;
                _bytes += group.MemoryBytes;
            }

            foreach (var slot in SlotsIn(slots)) Note(group, slot, content, hashes);
            if (_checks.Count >= BatchPatches || _bytes >= BatchBytes) CheckContent();
        }

        CheckContent();
    }

    private static IEnumerable<int> SlotsIn(ulong slots)
    {
        for (var slot = 0; slot < PatchGroupId.Slots; slot++)
            if ((slots >> slot & 1) != 0) yield return slot;
    }

    private void Note(PatchGroup group, int slot, bool content, HashPrefixes hashes)
    {
        var chunk = group.Id.Location(slot);
        if (!group.IsLive(slot)) return; // told already
        if (bad.Find(group.Anchor(slot)) is { } text)
        {
            bad.Add(chunk, $"{group.Id}: slot {slot} changes a page that can't be read: {text}");
            return;
        }

        hashes.Add(chunk, group.Hash(slot).A);
        if (content) _checks.Add(new Check(group.Anchor(slot), group, slot));
    }

    private void CheckContent()
    {
        _checks.Sort();
        var first = new List<int>();
        for (var i = 0; i < _checks.Count; i++)
            if (i == 0 || FrameId.Of(_checks[i].Anchor) != FrameId.Of(_checks[i - 1].Anchor)) first.Add(i);
        first.Add(_checks.Count);
        AllCores.For(0, first.Count - 1, f => CheckFrame(first[f], first[f + 1]));
        _checks.Clear();
        _bytes = 0;
    }

    private void CheckFrame(int from, int to)
    {
        Span<byte> page = stackalloc byte[VirtualPage.Size];
        for (var (i, frame) = (from, (FrameReader?)null); i < to; i++)
        {
            var (anchor, group, slot) = _checks[i];
            try
            {
                frame ??= ChunkLookup.LoadFrame(db, FrameId.Of(anchor));
                frame.Unchecked(anchor.Slot).CopyTo(page);
                Interlocked.Increment(ref _pagesRead);
                group.Apply(slot, page);
            }
            catch (StoreDamagedException e)
            {
                lock (bad) bad.Add(group.Id.Location(slot), e.Message);
            }
        }
    }

    private PatchGroup? TryLoad(PatchGroupId id)
    {
        try
        {
            return ChunkLookup.LoadGroup(db, id);
        }
        catch (StoreDamagedException e)
        {
            bad.Add(id, e.Message.StartsWith($"{id}", StringComparison.Ordinal) ? e.Message : $"{id}: {e.Message}"); // RocksDB's own checksum
            return null;
        }
    }

    /// <summary>A patch to check. Its group is kept as it is stored and unpacked.</summary>
    private readonly record struct Check(ChunkLocation Anchor, PatchGroup Group, int Slot) : IComparable<Check>
    {
        public int CompareTo(Check other) =>
            Anchor.Crid != other.Anchor.Crid ? Anchor.Crid.CompareTo(other.Anchor.Crid) : Anchor.Ordinal.CompareTo(other.Anchor.Ordinal);
    }
}
