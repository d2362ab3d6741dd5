using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Store.Reading;

namespace Crstore.Store.Maintenance;

/// <summary>The first 32 bits of the content address of each chunk that was checked: 4 bytes a chunk.</summary>
internal sealed class HashPrefixes
{
    private readonly ChunkMarks _known = new();
    private readonly Dictionary<(Crid Crid, bool Patch), uint[]> _prefixes = [];

    /// <summary>Notes a chunk.</summary>
    /// <param name="chunk">Which.</param>
    /// <param name="hashStart">The first eight bytes of its content address.</param>
    public void Add(ChunkLocation chunk, ulong hashStart)
    {
        _known.Add(chunk);
        _prefixes.TryGetValue((chunk.Crid, chunk.IsPatch), out var all);
        var place = Place(chunk);
        if (all is null || place >= (uint)all.Length)
        {
            Array.Resize(ref all, (int)Math.Min(Math.Max(place + 1L, (all?.Length ?? 256) * 2L), Array.MaxLength));
            _prefixes[(chunk.Crid, chunk.IsPatch)] = all;
        }

        all[place] = (uint)(hashStart >> 32);
    }

    /// <summary>True if it fits; null if the chunk is not known.</summary>
    public bool? Fits(ChunkLocation chunk, ContentHash hash) => _known.Contains(chunk) ? _prefixes[(chunk.Crid, chunk.IsPatch)][Place(chunk)] == (uint)(hash.A >> 32) : null;

    private static uint Place(ChunkLocation chunk) => chunk.IsPatch ? chunk.Ordinal - ChunkLocation.FirstPatch : chunk.Ordinal;
}

/// <summary>
/// Checks that every index entry leads to a live chunk with that content address: a wrong one would make the next capture
/// refer to nothing instead of storing the page.
/// </summary>
internal sealed class IndexVerifier(RocksDb db, List<string> problems, IProgress<StoreProgress>? progress, CancellationToken cancel)
{
    private const int MaxProblems = 100;
    private readonly ChunkLookup _chunks = new(db);
    private ulong _wrong;

    /// <summary>Checks all entries.</summary>
    /// <param name="known">Chunks whose frames were read already.</param>
    public void Check(HashPrefixes known)
    {
        ulong done = 0;
        using var i = db.Iterate(ColumnFamily.Index);
        for (var there = i.SeekToFirst(); there; there = i.Next())
        {
            if (done++ % 4096 == 0)
            {
                cancel.ThrowIfCancellationRequested();
                progress?.Report(new StoreProgress("checking the index", done, 0));
            }

            if (i.Key.Length != ContentHash.Size) Problem($"an index key of {i.Key.Length} bytes");
            else CheckEntry(ContentHash.Read(i.Key), i.Value, known);
        }

        if (_wrong > MaxProblems) problems.Add($"{_wrong - MaxProblems} more index entries are wrong");
    }

    private void CheckEntry(ContentHash hash, ReadOnlySpan<byte> value, HashPrefixes known)
    {
        try
        {
            var chunk = Keys.LocationOf(value);
            if (known.Fits(chunk, hash) ?? FitsStored(chunk, hash)) return;
            Problem($"index entry {hash}: {(chunk.IsPatch ? $"slot {PatchGroupId.SlotOf(chunk)} of {PatchGroupId.Of(chunk)}" : $"slot {chunk.Slot} of {FrameId.Of(chunk)}")} is another page");
        }
        catch (StoreDamagedException e)
        {
            Problem($"index entry {hash}: {e.Message}");
        }
    }

    /// <summary>A patch needs its anchor too: a live page in a frame.</summary>
    private bool FitsStored(ChunkLocation chunk, ContentHash hash)
    {
        if (!_chunks.Fits(chunk, hash)) return false;
        if (!chunk.IsPatch) return true;
        try
        {
            _chunks.HashStart(_chunks.AnchorFor(chunk));
            return true;
        }
        catch (StoreDamagedException e)
        {
            throw new StoreDamagedException($"slot {PatchGroupId.SlotOf(chunk)} of {PatchGroupId.Of(chunk)} changes a page that is not there: {e.Message}", null, e);
        }
    }

    private void Problem(string text)
    {
        if (++_wrong <= MaxProblems) problems.Add(text);
    }
}
