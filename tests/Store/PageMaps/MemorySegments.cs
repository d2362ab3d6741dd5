using Crstore.Model;
using Crstore.Store.PageMaps;

namespace Crstore.Tests.Store.PageMaps;

/// <summary>Segments in a dictionary, with a count of the loads.</summary>
internal sealed class MemorySegments : ISegmentSource
{
    private readonly Dictionary<SegmentKey, byte[]> _segments = [];

    public int Loads { get; set; }

    public SegmentCache? Kept { get; init; }

    public Dictionary<SegmentKey, byte[]> All => _segments;

    public ReadOnlyMemory<byte> Load(Crid writer, SpaceId space, ulong segment)
    {
        Loads++;
        return _segments.TryGetValue(new SegmentKey(writer, space, segment), out var bytes) ? bytes : default;
    }

    /// <summary>Stores what was built and opens it.</summary>
    public PageMap Store(Crid crid, SpaceId space, PageMapResult result)
    {
        foreach (var segment in result.Segments) _segments.Add(new SegmentKey(crid, space, segment.Number), segment.Bytes);
        return new PageMap(crid, space, result.Root, this);
    }
}
