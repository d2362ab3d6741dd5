using Crstore.Linux.Memory;

namespace Crstore.Capture.Memory;

/// <summary>
/// Where pages wait that a round has read from running processes: only those that the freeze finds unwritten since go to the store. Its room is
/// lent by the page buffer, of its budget, of which half is left to the freeze.
/// </summary>
public sealed class HeldMemory(PageBuffer buffer) : IDisposable
{
    private const int LargestSegment = 64 << 20;
    private readonly int _segmentBytes = (int)Math.Clamp(buffer.BudgetBytes / 8, PreCopier.WindowBytes, LargestSegment) & ~(PreCopier.WindowBytes - 1);
    private readonly List<MappedMemory> _segments = [];
    private readonly BufferFiller _filler = new();
    private readonly Lock _gate = new();
    private int _segment;
    private int _used;

    /// <summary>Held by who has found no room, and stores what it has read: several processes are read at a time.</summary>
    internal Lock Storing { get; } = new();

    /// <summary>Begins to fault in room beside what the caller does next. <see cref="Prepare"/> must follow before anything else, or <see cref="Trim"/>.</summary>
    public void Anticipate(long bytes)
    {
        if (bytes <= FreeBytes()) return;
        Grow(bytes);
        _filler.Begin();
    }

    /// <summary>Faults in room for that many bytes, as far as there is any. Before a round, which it makes shorter.</summary>
    public void Prepare(long bytes)
    {
        Grow(bytes);
        _filler.Finish();
    }

    /// <summary>Room for some pages, side by side; false if there is none left. Thread safe.</summary>
    public bool TryTake(int bytes, out BufferPlace place)
    {
        using var one = _gate.EnterScope();
        place = default;
        while (_segment < _segments.Count && _segments[_segment].SizeBytes - _used < bytes) (_segment, _used) = (_segment + 1, 0);
        if (_segment == _segments.Count && (bytes > _segmentBytes || !TryGrow())) return false;
        place = new BufferPlace(_segments[_segment], _used);
        _used += bytes;
        return true;
    }

    /// <summary>Gives back the room that no page has taken.</summary>
    public void Trim()
    {
        _filler.Dispose();
        var used = _used > 0 ? _segment + 1 : _segment;
        for (; _segments.Count > used; _segments.RemoveAt(_segments.Count - 1)) buffer.TakeBack(_segments[^1]);
    }

    /// <summary>Forgets all pages and gives the memory back, the first segment first: that one is faulted in as a whole, if any is.</summary>
    public void Clear()
    {
        _filler.Dispose();
        foreach (var segment in _segments) buffer.TakeBack(segment);
        _segments.Clear();
        (_segment, _used) = (0, 0);
    }

    /// <inheritdoc/>
    public void Dispose() => Clear();

    private void Grow(long bytes)
    {
        for (var left = bytes - FreeBytes(); left > 0; left -= _segmentBytes)
        {
            if (!TryGrow()) break;
            _filler.Add(_segments[^1], left); // the rest of the last one is mapped, and nothing more
        }
    }

    private long FreeBytes()
    {
        var free = -(long)_used;
        for (var i = _segment; i < _segments.Count; i++) free += _segments[i].SizeBytes;
        return Math.Max(0, free);
    }

    private bool TryGrow()
    {
        if (buffer.TryLend(_segmentBytes) is not { } segment) return false;
        _segments.Add(segment);
        return true;
    }
}
