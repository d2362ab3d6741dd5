using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Patches;

namespace Crstore.Store.Maintenance;

/// <summary>Chunks that can't be read, and why.</summary>
internal sealed class BadChunks
{
    private readonly Dictionary<FrameId, string> _frames = [];
    private readonly Dictionary<PatchGroupId, string> _groups = [];
    private readonly Dictionary<ChunkLocation, string> _slots = [];

    /// <summary>Entries.</summary>
    public int Count => _frames.Count + _groups.Count + _slots.Count;

    /// <summary>A whole frame.</summary>
    public void Add(FrameId frame, string text) => _frames[frame] = text;

    /// <summary>A whole patch group.</summary>
    public void Add(PatchGroupId group, string text) => _groups[group] = text;

    /// <summary>One chunk.</summary>
    public void Add(ChunkLocation chunk, string text) => _slots[chunk] = text;

    /// <summary>What is wrong with a chunk; null if nothing is.</summary>
    public string? Find(ChunkLocation chunk) =>
        (chunk.IsPatch ? _groups.TryGetValue(PatchGroupId.Of(chunk), out var text) : _frames.TryGetValue(FrameId.Of(chunk), out text))
        || _slots.TryGetValue(chunk, out text) ? text : null;
}
