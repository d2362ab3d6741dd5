using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>Memory that was written everywhere in each of the last captures.</summary>
/// <param name="Range">Whole blocks (<see cref="HotMemory.BlockPages"/>).</param>
/// <param name="Captures">In how many in a row, the last one included: at least 1.</param>
public readonly record struct HotBlocks(PageRange Range, uint Captures);

/// <summary>
/// Which memory of a process is written everywhere between any two captures. To protect it costs the target a fault a page each time, only to tell what is known; so most captures leave it unprotected.
/// What is not protected reads as written, of every kernel: it is saved by the next capture, whatever becomes of it. No proof depends on what is remembered here, only how much is protected, and read.
/// Every so often it is protected all the same (<see cref="IsLook"/>), to see whether it still is written: else it is kept again from then on.
/// </summary>
public sealed class HotMemory
{
    /// <summary>Pages of a block: what a page table covers (2 MiB), so that no huge page is protected in part, which would split it.</summary>
    public const ulong BlockPages = 512;

    // What a checkpoint remembers of one process: each range may need a system call of its own in the freeze. Memory that is hot in so many places is protected beyond that, as if it were not.
    private const int MostRanges = 256;

    private readonly RunList<HotBlocks> _before = new(16);
    private readonly RunList<HotBlocks> _now = new(MostRanges);
    private bool _rests;
    private int _cursor;

    /// <summary>Nothing is known.</summary>
    public HotMemory()
    {
    }

    /// <summary>What a checkpoint remembers of a process.</summary>
    /// <param name="process">There.</param>
    public HotMemory(Process process)
    {
        var end = default(VirtualPage);
        foreach (var vma in process.Vmas)
        {
            foreach (var hot in vma.Hot)
            {
                var range = PageRange.OfAddresses(hot.Start, hot.Start + hot.SizeBytes);
                if (hot.Captures > 0 && range.Start.Number >= end.Number) _before.Add(new HotBlocks(range, hot.Captures));
                end = range.End;
            }
        }
    }

    /// <summary>Bytes that were hot in the last capture, by what the checkpoint remembers. Once is enough: behind rounds, it was written everywhere since the round before.</summary>
    public long KnownBytes
    {
        get
        {
            var sum = 0UL;
            foreach (var hot in _before)
                sum += hot.Range.SizeBytes;
            return (long)sum;
        }
    }

    /// <summary>Found in this freeze, in address order.</summary>
    public RunList<HotBlocks> Ranges => _now;

    /// <summary>Whether memory is protected in a capture in which it was found written everywhere: in the first, so that the second is a proof; in the fourth; and then in every eighth.</summary>
    /// <param name="captures">How many that makes in a row.</param>
    public static bool IsLook(uint captures) => captures == 1 || captures == 4 || captures % 8 == 0;

    /// <summary>In the freeze, before the first scan.</summary>
    /// <param name="rests">Memory may be left unprotected: it was watched since the checkpoint that remembers.</param>
    public void Begin(bool rests)
    {
        _now.Clear();
        (_rests, _cursor) = (rests, 0);
    }

    /// <summary>How far the memory from here on is to be treated alike: protected, or left as it is.</summary>
    /// <param name="at">In ascending order.</param>
    /// <param name="end">Not beyond.</param>
    /// <param name="protect">It is to be protected.</param>
    /// <returns>The first page behind it.</returns>
    public VirtualPage Next(VirtualPage at, VirtualPage end, out bool protect)
    {
        protect = true;
        if (!_rests) return end;
        Seek(at);
        for (; _cursor < _before.Count; _cursor++)
        {
            var (range, captures) = _before[_cursor];
            if (range.Start.Number >= end.Number) break;
            if (IsLook(captures + 1)) continue;
            protect = range.Start.Number > at.Number;
            return protect ? range.Start : new VirtualPage(Math.Min(range.End.Number, end.Number));
        }

        return end;
    }

    /// <summary>Remembers the blocks of which every page was written.</summary>
    /// <param name="written">What was written, in ascending order of calls as well.</param>
    public void Note(RunList<PageRun> written)
    {
        const PageCategories full = PageCategories.Present | PageCategories.Written;
        foreach (var run in written)
        {
            if ((run.Flags & (full | PageCategories.ZeroFrame)) != full) continue;
            var first = (run.Range.Start.Number + BlockPages - 1) / BlockPages;
            var behind = run.Range.End.Number / BlockPages;
            if (first < behind) Note(PageRange.Between(new VirtualPage(first * BlockPages), new VirtualPage(behind * BlockPages)));
        }
    }

    /// <summary>After the thaw: what is remembered of a mapping, for the manifest.</summary>
    public void Describe(Vma vma)
    {
        foreach (var hot in _now)
        {
            if (hot.Range.Intersect(PageRange.OfAddresses(vma.Start, vma.End)) is { IsEmpty: false } part)
                vma.Hot.Add(new HotRange { Start = part.Start.Address, SizeBytes = part.SizeBytes, Captures = hot.Captures });
        }
    }

    // In parts, as far as they were hot before for equally long.
    private void Note(PageRange blocks)
    {
        Seek(blocks.Start);
        for (var (at, i) = (blocks.Start, _cursor); at.Number < blocks.End.Number;)
        {
            while (i < _before.Count && _before[i].Range.End.Number <= at.Number) i++;
            var known = _rests && i < _before.Count && _before[i].Range.Start.Number < blocks.End.Number;
            var isHere = known && _before[i].Range.Start.Number <= at.Number;
            var end = !known ? blocks.End.Number : isHere ? Math.Min(blocks.End.Number, _before[i].Range.End.Number) : _before[i].Range.Start.Number;
            Add(PageRange.Between(at, new VirtualPage(end)), isHere ? Math.Min(_before[i].Captures, uint.MaxValue - 1) + 1 : 1);
            at = new VirtualPage(end);
        }
    }

    private void Add(PageRange range, uint captures)
    {
        if (_now.Count > 0)
        {
            ref var last = ref _now[_now.Count - 1];
            if (last.Captures == captures && last.Range.End == range.Start)
            {
                last = new HotBlocks(new PageRange(last.Range.Start, last.Range.Count + range.Count), captures);
                return;
            }
        }

        if (_now.Count < MostRanges) _now.Add(new HotBlocks(range, captures));
    }

    // To the first range that does not end in front of it.
    private void Seek(VirtualPage page)
    {
        while (_cursor > 0 && _before[_cursor - 1].Range.End.Number > page.Number) _cursor--;
        while (_cursor < _before.Count && _before[_cursor].Range.End.Number <= page.Number) _cursor++;
    }
}
