using Crstore.Model;

namespace Crstore.Store.PageMaps;

/// <summary>A segment to store.</summary>
/// <param name="Number">Its number; CRID and space are the builder's.</param>
/// <param name="Bytes">Its encoding.</param>
public readonly record struct NewSegment(ulong Number, byte[] Bytes);

/// <summary>Pages of a finished map, by kind, and how many differ from the parent's.</summary>
/// <param name="Chunks">Pages with a chunk.</param>
/// <param name="Zero">Zero pages.</param>
/// <param name="Excluded">Pages that were not saved.</param>
/// <param name="Changed">Pages whose kind or chunk location is not the parent's; all of <see cref="Logical"/> without a
/// parent. Absent and zero count as the same.</param>
public readonly record struct PageMapCounters(ulong Chunks, ulong Zero, ulong Excluded, ulong Changed)
{
    /// <summary>Pages with content of their own.</summary>
    public ulong Logical => Chunks + Zero;
}

/// <summary>A finished page map.</summary>
/// <param name="Root">The encoded root.</param>
/// <param name="Segments">The segments that differ from the parent's, in order.</param>
/// <param name="Counters">Page counts.</param>
public sealed record PageMapResult(byte[] Root, IReadOnlyList<NewSegment> Segments, PageMapCounters Counters)
{
    /// <summary>The segments that are new in the place of the parent's, decoded, if the parent's source keeps such: for <see cref="SegmentCache.Replace"/>, once they are stored.</summary>
    public IReadOnlyList<NewContent> Contents { get; init; } = [];
}

/// <summary>A segment that is new in the place of another one.</summary>
/// <param name="Before">The parent's.</param>
/// <param name="Key">Its own.</param>
/// <param name="Content">What it says.</param>
public readonly record struct NewContent(SegmentKey Before, SegmentKey Key, Segment Content);

/// <summary>
/// Builds the page map of one address space of a new checkpoint from operations in any order: a later one overrides an
/// earlier one for the same pages, and pages never mentioned are absent. Operations are kept as ranges and swept once at
/// the end, so a million single pages and one range of a million pages are both cheap. Not thread safe.
/// </summary>
public sealed class PageMapBuilder
{
    private readonly PageMap? _parent;
    private readonly Crid _crid;
    private readonly SpaceId _space;
    private readonly List<Operation> _operations = [];
    private bool _inOrder = true;

    /// <summary>Starts an empty map.</summary>
    /// <param name="crid">The new checkpoint.</param>
    /// <param name="space">The address space in it.</param>
    /// <param name="parent">What <see cref="Keep"/> refers to and whose unchanged segments are shared; null for none.</param>
    public PageMapBuilder(Crid crid, SpaceId space, PageMap? parent) => (_crid, _space, _parent) = (crid, space, parent);

    private enum Verb : byte { Keep, Zero, Chunk, Excluded, Absent }

    /// <summary>These pages are as in the parent.</summary>
    /// <exception cref="ArgumentException">The parent has nothing for one of them: it is absent or excluded there.</exception>
    public void Keep(PageRange range)
    {
        CheckKeep(range);
        KeepChecked(range);
    }

    /// <summary><see cref="Keep"/>, behind <see cref="CheckKeep"/>.</summary>
    public void KeepChecked(PageRange range) => Add(range, Verb.Keep, default);

    /// <summary>Says now what <see cref="Keep"/> would say later.</summary>
    /// <exception cref="ArgumentException">The same.</exception>
    public void CheckKeep(PageRange range)
    {
        Check(range);
        if (range.IsEmpty) return;
        var position = range.Start;
        if (_parent is not null)
        {
            foreach (var span in _parent.Kinds(range))
            {
                if (span.Range.Start != position || span.Kind == PageKind.Excluded) break;
                position = span.Range.End;
            }
        }

        if (position != range.End)
            throw new ArgumentException(_parent is null
                ? $"page {position} can't be kept: there is no parent"
                : $"page {position} can't be kept: the parent, CRID {_parent.Crid}, has no content for it", nameof(range));
    }

    /// <summary>These pages are all zero.</summary>
    public void SetZero(PageRange range) => Add(range, Verb.Zero, default);

    /// <summary>These pages had content that is not saved.</summary>
    public void SetExcluded(PageRange range) => Add(range, Verb.Excluded, default);

    /// <summary>There is nothing any more, whatever was said before.</summary>
    public void SetAbsent(PageRange range) => Add(range, Verb.Absent, default);

    /// <summary>One page's content is this chunk.</summary>
    public void SetChunk(VirtualPage page, ChunkLocation location) => SetChunks(new PageRange(page, 1), location);

    /// <summary>These pages' contents are consecutive chunks.</summary>
    public void SetChunks(PageRange range, ChunkLocation first)
    {
        if (!first.Crid.IsSome) throw new ArgumentException("a chunk without a CRID", nameof(first));
        if (range.Count > (ulong)uint.MaxValue + 1 - first.Ordinal) throw new ArgumentException("chunk ordinals beyond 32 bits", nameof(range));
        Add(range, Verb.Chunk, first);
    }

    /// <summary>Makes the map. The builder can go on being used.</summary>
    /// <exception cref="StoreDamagedException">The parent's map is damaged.</exception>
    public PageMapResult Build()
    {
        var assembler = new PageMapAssembler(_crid, _space, _parent);
        Action<PageRun> append = assembler.Append;
        foreach (var piece in _inOrder ? _operations : Sweep())
        {
            if (piece.Verb == Verb.Keep)
            {
                _parent!.Visit(piece.Range, append);
            }
            else if (piece.Verb != Verb.Absent)
            {
                assembler.Append(piece.Run);
            }
        }

        return assembler.Finish();
    }

    /// <summary>Calls back for each page that is kept and made by a patch, in segments in which another page has got a chunk.</summary>
    /// <exception cref="StoreDamagedException">The parent's map is damaged.</exception>
    public void VisitKeptPatches(Action<VirtualPage, ChunkLocation> visit)
    {
        if (_parent is null) return;
        List<Operation> pieces = [.. _inOrder ? _operations : Sweep()];
        var written = new List<ulong>(); // segments, ascending
        foreach (var piece in pieces)
        {
            if (piece.Verb != Verb.Chunk) continue;
            for (var segment = Segment.NumberOf(piece.Range.Start); segment <= (piece.Range.End.Number - 1) >> Segment.Shift; segment++)
                if (written.Count == 0 || written[^1] != segment) written.Add(segment);
        }

        foreach (var piece in pieces)
        {
            if (piece.Verb != Verb.Keep) continue;
            var next = written.BinarySearch(Segment.NumberOf(piece.Range.Start));
            for (next = next < 0 ? ~next : next; next < written.Count && written[next] <= (piece.Range.End.Number - 1) >> Segment.Shift; next++)
            {
                _parent.Visit(piece.Range.Intersect(Segment.RangeOf(written[next], 1)), run =>
                {
                    if (run.Kind != PageKind.Chunk || !run.First.IsPatch) return;
                    for (var page = run.Range.Start; page.Number < run.Range.End.Number; page += 1) visit(page, run.LocationOf(page));
                });
            }
        }
    }

    private void Add(PageRange range, Verb verb, ChunkLocation first)
    {
        Check(range);
        if (range.IsEmpty) return;
        var operation = new Operation(range, verb, first, _operations.Count);
        if (_operations.Count > 0)
        {
            var last = _operations[^1];
            if (last.Verb == verb && last.Range.End == range.Start && (verb != Verb.Chunk || last.Run.ContinuesInto(operation.Run)))
            {
                // The newest operation overrides all others, so making it longer is the same as a new one.
                _operations[^1] = last with { Range = new PageRange(last.Range.Start, last.Range.Count + range.Count) };
                return;
            }

            _inOrder &= last.Range.End.Number <= range.Start.Number;
        }

        _operations.Add(operation);
    }

    /// <summary>Cuts overlapping operations into pieces in address order, the newest one winning everywhere.</summary>
    private IEnumerable<Operation> Sweep()
    {
        var operations = _operations.ToArray();
        Array.Sort(operations, static (x, y) =>
            x.Range.Start != y.Range.Start ? x.Range.Start.CompareTo(y.Range.Start) : y.Sequence.CompareTo(x.Sequence));
        var active = new PriorityQueue<Operation, int>();
        var next = 0;
        VirtualPage position = default;
        while (next < operations.Length || active.Count > 0)
        {
            while (active.Count > 0 && active.Peek().Range.End.Number <= position.Number) active.Dequeue();
            if (active.Count == 0)
            {
                if (next == operations.Length) yield break;
                position = operations[next].Range.Start.Number > position.Number ? operations[next].Range.Start : position;
            }

            for (; next < operations.Length && operations[next].Range.Start.Number <= position.Number; next++)
                if (operations[next].Range.End.Number > position.Number) active.Enqueue(operations[next], -operations[next].Sequence);
            if (active.Count == 0) continue;

            // Older operations can wait: only a newer one ends the top one's reign early.
            var top = active.Peek();
            var end = top.Range.End;
            for (; next < operations.Length && operations[next].Range.Start.Number < end.Number; next++)
            {
                if (operations[next].Sequence > top.Sequence)
                {
                    end = operations[next].Range.Start;
                    break;
                }

                if (operations[next].Range.End.Number > end.Number) active.Enqueue(operations[next], -operations[next].Sequence);
            }

            yield return top.Cut(PageRange.Between(position, end));
            position = end;
        }
    }

    private static void Check(PageRange range)
    {
        var limit = FormatLimits.Default.MaxPageNumber;
        if (range.Start.Number > limit || range.Count > limit - range.Start.Number)
            throw new ArgumentException($"{range} is beyond {limit} pages", nameof(range));
    }

    private readonly record struct Operation(PageRange Range, Verb Verb, ChunkLocation First, int Sequence)
    {
        public PageRun Run => new(Range, Verb switch
        {
            Verb.Zero => PageKind.Zero,
            Verb.Chunk => PageKind.Chunk,
            _ => PageKind.Excluded,
        }, First);

        public Operation Cut(PageRange range) => this with { Range = range, First = Run.LocationOf(range.Start) };
    }
}
