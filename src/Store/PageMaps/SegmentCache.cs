using System.Runtime.CompilerServices;
using Crstore.Model;

namespace Crstore.Store.PageMaps;

/// <summary>
/// Decoded segments, for the next capture of the same process: an increment of scattered changes asks for all of its parent's, and for those that these
/// differ from. What is stored under a key never changes; who keeps them must know that it still is that store (<see cref="Reading.KeptKnowledge"/>).
/// Bounded: what was not asked for since as much came in as half of it holds is dropped. Thread safe.
/// </summary>
/// <param name="maxBytes">What it holds at most.</param>
public sealed class SegmentCache(long maxBytes)
{
    private readonly Lock _gate = new();
    private Dictionary<SegmentKey, Segment> _young = [], _old = [];
    private long _youngBytes;

    /// <summary>Segments kept.</summary>
    public int Count
    {
        get
        {
            lock (_gate) return _young.Count + _old.Count;
        }
    }

    /// <summary>A segment; null if it is not here.</summary>
    public Segment? TryGet(in SegmentKey key)
    {
        lock (_gate)
        {
            if (_young.TryGetValue(key, out var segment)) return segment;
            if (_old.Remove(key, out segment)) AddYoung(key, segment);
            return segment;
        }
    }

    /// <summary>Keeps one that was read.</summary>
    public void Add(in SegmentKey key, Segment segment)
    {
        lock (_gate)
        {
            _old.Remove(key);
            if (!_young.ContainsKey(key)) AddYoung(key, segment);
        }
    }

    /// <summary>Keeps one that is stored by now, in the place of its parent's, which nobody may ask for again, unless it differs from that.</summary>
    public void Replace(in NewContent segment)
    {
        lock (_gate)
        {
            if (segment.Content.Base != segment.Before)
            {
                if (_young.Remove(segment.Before, out var before)) _youngBytes -= BytesOf(before);
                _old.Remove(segment.Before);
            }
        }

        Add(segment.Key, segment.Content);
    }

    /// <summary>Forgets all.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            _young.Clear();
            _old.Clear();
            _youngBytes = 0;
        }
    }

    private void AddYoung(in SegmentKey key, Segment segment)
    {
        var bytes = BytesOf(segment);
        if (_youngBytes + bytes > maxBytes / 2)
        {
            (_young, _old) = (_old, _young);
            _young.Clear();
            _youngBytes = 0;
        }

        _young.Add(key, segment);
        _youngBytes += bytes;
    }

    private static long BytesOf(Segment segment) => segment.Extents.Length * Unsafe.SizeOf<PageExtent>() + segment.Kinds.Length * Unsafe.SizeOf<PageSpan>() + 128;
}
