using Crstore.Model;
using Crstore.Store.Codec;

namespace Crstore.Store.PageMaps;

/// <summary>
/// Chooses how a new segment is written: in full, or as what differs from the full one that the parent's is, or differs from itself. Where pages
/// change anywhere, the difference grows with each increment, and each writes all of it again; so what the differences have taken more than
/// what was new in them (the excess) is added up, and when that would have paid for a full one, one is written. Where the same pages change again
/// and again there is no excess, and the full one serves for ever.
/// </summary>
internal sealed class SegmentEncoder
{
    // A difference costs a second lookup: it must be worth it.
    private const int WorthwhileShare = 2;
    private readonly ByteWriter _full = new();
    private readonly ByteWriter _difference = new();

    /// <summary>What the last one that was made differs from; null if it is a full one.</summary>
    public SegmentKey? Base { get; private set; }

    /// <summary>Of the last one, if it is a difference.</summary>
    public int Excess { get; private set; }

    /// <summary>The stored form; null if there is nothing to store, as it is again the full one that the parent's differs from.</summary>
    /// <param name="key">The new segment's.</param>
    /// <param name="extents">Maximal runs that cover all pages.</param>
    /// <param name="parent">Has the segment before; null for none.</param>
    /// <param name="before">Its key there.</param>
    /// <exception cref="StoreDamagedException">The parent's segment is damaged.</exception>
    public byte[]? Encode(in SegmentKey key, ReadOnlySpan<PageExtent> extents, PageMap? parent, in SegmentKey before)
    {
        (Base, Excess) = (null, 0);
        if (parent is null)
        {
            SegmentCodec.Encode(key, extents, _full);
            return _full.Written.ToArray();
        }

        var last = parent.Load(before);
        var from = last.Base ?? before;
        var news = SegmentDifference.Between(last.Extents, extents);
        var size = SegmentCodec.EncodeDifference(key, new StoredSegment(from, news), _difference);
        var excess = last.Excess;
        if (last.Base is not null)
        {
            var all = SegmentDifference.Between(SegmentLoader.LoadBase(parent.Source, from, before), extents);
            if (all.Length == 0) return null; // a difference in nothing is no difference
            var ofNews = size;
            size = SegmentCodec.EncodeDifference(key, new StoredSegment(from, all), _difference);
            excess += Math.Max(0, size - ofNews);
            SegmentCodec.EncodeDifference(key, new StoredSegment(from, all) { Excess = excess }, _difference);
        }

        // Mostly the full form's least size says so already.
        if (!Pays(SegmentCodec.LeastBytes(extents)))
        {
            SegmentCodec.Encode(key, extents, _full);
            if (!Pays(_full.Written.Length)) return _full.Written.ToArray();
        }

        (Base, Excess) = (from, excess);
        return _difference.Written.ToArray();

        bool Pays(int full) => size * WorthwhileShare <= full && excess <= full;
    }
}
