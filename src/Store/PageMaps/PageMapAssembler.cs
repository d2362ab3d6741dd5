using Crstore.Model;

namespace Crstore.Store.PageMaps;

/// <summary>
/// Cuts runs, given in address order, into segments: those equal to the parent's, or to what that one differs from, are referred to, those all alike go into
/// the root, the others are encoded (<see cref="SegmentEncoder"/>).
/// </summary>
internal sealed class PageMapAssembler(Crid crid, SpaceId space, PageMap? parent)
{
    private readonly List<RootEntry> _entries = [];
    private readonly List<NewSegment> _segments = [];
    private readonly List<PageExtent> _current = [];
    private readonly List<NewContent> _contents = []; // of those in the place of the parent's, if somebody keeps them
    private readonly List<(ulong Number, int Pages)> _changed = []; // of those whose parent's was at hand, in order
    private readonly SegmentEncoder _encoder = new();
    private ulong _number;
    private ulong _chunks, _zero, _excluded;

    /// <summary>Adds pages behind all that were added before.</summary>
    public void Append(PageRun run)
    {
        Count(run);
        while (!run.Range.IsEmpty)
        {
            var number = Segment.NumberOf(run.Range.Start);
            if (number != _number)
            {
                Flush();
                _number = number;
            }

            var offset = (int)(run.Range.Start.Number % Segment.Pages);
            ulong taken;
            if (offset == 0 && run.Kind != PageKind.Chunk && run.Range.Count >= Segment.Pages)
            {
                // Whole segments alike, perhaps millions of them: one root entry.
                var segments = run.Range.Count >> Segment.Shift;
                AddEntry(new RootEntry(number, segments, run.Kind, Crid.None, default));
                taken = segments << Segment.Shift;
            }
            else
            {
                taken = Math.Min((ulong)(Segment.Pages - offset), run.Range.Count);
                AddExtent(offset, (int)taken, run.Kind, run.First);
            }

            var rest = PageRange.Between(run.Range.Start + taken, run.Range.End);
            if (rest.IsEmpty) break;
            run = run with { Range = rest, First = run.LocationOf(rest.Start) };
        }
    }

    /// <summary>The finished map.</summary>
    public PageMapResult Finish()
    {
        Flush();
        var limits = FormatLimits.Default;
        if (_entries.Count > limits.MaxRootEntries)
            throw new EnvironmentException($"the page map of space {space} needs {_entries.Count} root entries; the format allows {limits.MaxRootEntries}");
        var entries = _entries.ToArray();
        return new PageMapResult(RootCodec.Encode(crid, space, entries), _segments,
            new PageMapCounters(_chunks, _zero, _excluded, Changed(entries)))
        {
            Contents = _contents,
        };
    }

    private ulong Changed(RootEntry[] entries)
    {
        if (parent is null) return _chunks + _zero;
        ulong changed = 0;
        var map = new PageMap(crid, space, entries, new Source(crid, parent, _segments));
        var next = 0;
        foreach (var range in parent.SegmentsDiffering(map))
        {
            var (position, end) = (Segment.NumberOf(range.Start), range.End.Number >> Segment.Shift);
            for (; next < _changed.Count && _changed[next].Number < end; next++)
            {
                var (number, pages) = _changed[next];
                changed += Compare(position, number) + (ulong)pages;
                position = number + 1;
            }

            changed += Compare(position, end);
        }

        return changed;

        ulong Compare(ulong from, ulong to)
        {
            ulong pages = 0;
            if (from == to) return 0;
            foreach (var change in PageMapDiff.Changes(parent, map, Segment.RangeOf(from, to - from)))
            {
                var alike = change.Before.Kind is PageKind.Absent or PageKind.Zero && change.After.Kind is PageKind.Absent or PageKind.Zero;
                if (!alike) pages += change.Range.Count;
            }

            return pages;
        }
    }

    private void Count(in PageRun run)
    {
        switch (run.Kind)
        {
            case PageKind.Chunk: _chunks += run.Range.Count; break;
            case PageKind.Zero: _zero += run.Range.Count; break;
            case PageKind.Excluded: _excluded += run.Range.Count; break;
            default: throw new ArgumentException($"a run of {run.Kind} pages", nameof(run));
        }
    }

    private void AddExtent(int offset, int length, PageKind kind, ChunkLocation first)
    {
        var end = _current.Count == 0 ? 0 : _current[^1].Start + _current[^1].Length;
        if (offset < end) throw new InvalidOperationException("runs out of order");
        if (offset > end) _current.Add(new PageExtent((ushort)end, (ushort)(offset - end), PageKind.Absent, default));
        if (_current.Count > 0 && _current[^1].ContinuesInto(kind, first))
            _current[^1] = _current[^1] with { Length = (ushort)(_current[^1].Length + length) };
        else
            _current.Add(new PageExtent((ushort)offset, (ushort)length, kind, first));
    }

    private void Flush()
    {
        if (_current.Count == 0) return;
        var end = _current[^1].Start + _current[^1].Length;
        if (end < Segment.Pages) _current.Add(new PageExtent((ushort)end, (ushort)(Segment.Pages - end), PageKind.Absent, default));
        var extents = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_current);
        if (extents.Length == 1 && extents[0].Kind != PageKind.Chunk)
        {
            AddEntry(new RootEntry(_number, 1, extents[0].Kind, Crid.None, default));
        }
        else if (parent?.EntryOf(_number) is { Uniform: null } old)
        {
            var before = old.Key(_number);
            var last = parent.Load(before).Extents;
            if (extents.SequenceEqual(last))
            {
                AddEntry(new RootEntry(_number, 1, null, old.Writer, old.Space));
            }
            else
            {
                _changed.Add((_number, SegmentDifference.CountChanged(last, extents)));
                AddSegment(extents, parent, before);
            }
        }
        else
        {
            AddSegment(extents, null, default);
        }

        _current.Clear();
    }

    private void AddSegment(ReadOnlySpan<PageExtent> extents, PageMap? from, in SegmentKey before)
    {
        var key = new SegmentKey(crid, space, _number);
        if (_encoder.Encode(key, extents, from, before) is { } bytes)
        {
            _segments.Add(new NewSegment(_number, bytes));
            if (from?.Source.Kept is not null) _contents.Add(new NewContent(before, key, new Segment(_number, extents.ToArray()) { Base = _encoder.Base, Excess = _encoder.Excess }));
        }
        else
        {
            key = from!.Load(before).Base!.Value;
        }

        AddEntry(new RootEntry(_number, 1, null, key.Writer, key.Space));
    }

    private void AddEntry(in RootEntry entry)
    {
        if (_entries.Count > 0 && _entries[^1].End == entry.First && _entries[^1].SameContent(entry))
            _entries[^1] = _entries[^1] with { Count = _entries[^1].Count + entry.Count };
        else
            _entries.Add(entry);
    }

    /// <summary>The parent's segments and the new ones.</summary>
    private sealed class Source(Crid crid, PageMap parent, List<NewSegment> segments) : ISegmentSource
    {
        public ReadOnlyMemory<byte> Load(Crid writer, SpaceId space, ulong segment)
        {
            if (writer != crid) return parent.Source.Load(writer, space, segment);
            var index = segments.BinarySearch(new NewSegment(segment, []), ByNumber);
            return segments[index].Bytes;
        }

        private static readonly Comparer<NewSegment> ByNumber = Comparer<NewSegment>.Create((x, y) => x.Number.CompareTo(y.Number));
    }
}
