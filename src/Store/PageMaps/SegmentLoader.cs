using Crstore.Model;

namespace Crstore.Store.PageMaps;

/// <summary>Reads segments, and what those are differences from: one hop, there it ends.</summary>
internal static class SegmentLoader
{
    /// <summary>What a segment says of all its pages.</summary>
    /// <param name="source">Where segments come from.</param>
    /// <param name="key">Which.</param>
    /// <param name="referrer">The checkpoint whose map names it, for the message.</param>
    /// <param name="limits">Null for the default ones.</param>
    /// <exception cref="StoreDamagedException">It, or the one it differs from, is missing or damaged.</exception>
    public static Segment Load(ISegmentSource source, in SegmentKey key, Crid referrer, FormatLimits? limits = null)
    {
        if (source.Kept?.TryGet(key) is { } kept) return kept;
        var bytes = source.Load(key.Writer, key.Space, key.Number);
        if (bytes.IsEmpty) throw new StoreDamagedException($"{key}, which the map of CRID {referrer} refers to, is missing");
        var stored = SegmentCodec.Decode(key, bytes.Span, limits);
        if (stored.Base is not { } from) return Keep(source, key, new Segment(key.Number, stored.Extents));
        var extents = SegmentDifference.Apply(LoadBase(source, from, key, limits), stored.Extents);
        if (extents.Length == 1 && extents[0].Kind != PageKind.Chunk) throw new StoreDamagedException($"{key}: all pages alike: that is not stored as a segment");
        return Keep(source, key, new Segment(key.Number, extents) { Base = from, Excess = stored.Excess });
    }

    /// <summary>The extents of a segment that others differ from.</summary>
    /// <param name="source">Where segments come from.</param>
    /// <param name="from">Which.</param>
    /// <param name="key">The one that differs, for the message.</param>
    /// <param name="limits">Null for the default ones.</param>
    /// <exception cref="StoreDamagedException">It is missing, damaged, or a difference itself.</exception>
    public static PageExtent[] LoadBase(ISegmentSource source, in SegmentKey from, in SegmentKey key, FormatLimits? limits = null)
    {
        if (source.Kept?.TryGet(from) is { Base: null } kept) return kept.Extents;
        var bytes = source.Load(from.Writer, from.Space, from.Number);
        if (bytes.IsEmpty) throw new StoreDamagedException($"{from}, which {key} differs from, is missing");
        StoredSegment stored;
        try
        {
            stored = SegmentCodec.Decode(from, bytes.Span, limits);
        }
        catch (StoreDamagedException e)
        {
            throw new StoreDamagedException($"{key}: what it differs from: {e.Message}", e.Hint, e);
        }

        if (stored.Base is not null) throw new StoreDamagedException($"{key}: what it differs from is a difference itself");
        return Keep(source, from, new Segment(from.Number, stored.Extents)).Extents;
    }

    private static Segment Keep(ISegmentSource source, in SegmentKey key, Segment segment)
    {
        source.Kept?.Add(key, segment);
        return segment;
    }
}
