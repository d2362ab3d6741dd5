using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Store.Maintenance;

/// <summary>Changed pages by VMA: those of the later checkpoint, and of the earlier one where the later has none.</summary>
internal sealed class VmaLedger
{
    private readonly List<Entry> _entries = [];
    private readonly Process _before;
    private readonly Process _after;
    private int _cursor;

    public VmaLedger(Process before, Process after)
    {
        (_before, _after) = (before, after);
        ulong position = 0;
        var old = before.Vmas;
        var next = 0;
        foreach (var vma in after.Vmas)
        {
            AddOld(old, ref next, position, vma.Start);
            _entries.Add(new Entry(vma.Start, vma.End, vma.Name));
            position = vma.End;
        }

        AddOld(old, ref next, position, ulong.MaxValue);
    }

    /// <summary>Cuts a range at the VMAs' bounds. Ranges come in address order.</summary>
    public IEnumerable<(PageRange Range, int Vma)> Split(PageRange range)
    {
        var position = range.Start;
        while (position.Number < range.End.Number)
        {
            while (_cursor < _entries.Count && _entries[_cursor].End <= position.Address) _cursor++;
            if (_cursor == _entries.Count || _entries[_cursor].Start > position.Address)
            {
                // Pages outside all VMAs: they are shown all the same, under no name.
                var end = _cursor == _entries.Count ? range.End.Address : Math.Min(_entries[_cursor].Start, range.End.Address);
                _entries.Insert(_cursor, new Entry(position.Address, end, "(no VMA)"));
            }

            var piece = PageRange.Between(position, range.End).Intersect(PageRange.OfAddresses(_entries[_cursor].Start, _entries[_cursor].End));
            yield return (piece, _cursor);
            position = piece.End;
        }
    }

    /// <summary>Notes changed pages of a VMA, in address order.</summary>
    public void Changed(int vma, PageRange range)
    {
        var ranges = _entries[vma].Ranges;
        if (ranges.Count > 0 && ranges[^1].End == range.Start) ranges[^1] = new PageRange(ranges[^1].Start, ranges[^1].Count + range.Count);
        else ranges.Add(range);
    }

    /// <summary>True if on neither side an absent page there is one of a file.</summary>
    public bool AbsentReadsZero(VirtualPage page) => !IsFile(_before, page) && !IsFile(_after, page);

    /// <summary>The VMAs with changes.</summary>
    public List<DiffVma> Result() => [.. _entries.Where(e => e.Ranges.Count > 0).Select(e =>
        new DiffVma(e.Start, e.End, e.Name, e.Ranges.Aggregate(0UL, (sum, r) => sum + r.Count), e.Ranges))];

    /// <summary>The VMA of a process that holds a page; null if none does.</summary>
    public static Vma? Find(Process process, VirtualPage page)
    {
        int low = 0, high = process.Vmas.Count;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (process.Vmas[middle].End <= page.Address) low = middle + 1;
            else high = middle;
        }

        return low < process.Vmas.Count && process.Vmas[low].Start <= page.Address ? process.Vmas[low] : null;
    }

    private static bool IsFile(Process process, VirtualPage page) => Find(process, page) is { Content: VmaContent.FileBacked };

    private void AddOld(IList<Vma> old, ref int next, ulong from, ulong to)
    {
        while (next < old.Count && old[next].End <= from) next++;
        for (var i = next; i < old.Count && old[i].Start < to; i++)
        {
            var (start, end) = (Math.Max(old[i].Start, from), Math.Min(old[i].End, to));
            if (start < end) _entries.Add(new Entry(start, end, old[i].Name));
            next = i;
        }
    }

    private sealed record Entry(ulong Start, ulong End, string Name)
    {
        public List<PageRange> Ranges { get; } = [];
    }
}
