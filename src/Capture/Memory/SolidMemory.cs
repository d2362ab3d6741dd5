using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// Memory of which every page was there when the running process was last looked at, and none the zero page. In the freeze this is worth a look less: what has been dropped since, or dropped and
/// filled anew, is no longer protected, and the scan for what was written reports it (docs/ARCHITECTURE.md, "Arming uffd without harm").
/// </summary>
public sealed class SolidMemory
{
    /// <summary>Pages that one page table has the entries of, x86-64.</summary>
    public const ulong BlockPages = 512;

    private const ulong LeastPages = 8 * BlockPages; // what is shorter isn't worth system calls of its own
    private readonly RunList<PageRange> _ranges = new(256);
    private PageRange _open;

    /// <summary>Whole page tables, in address order; after <see cref="Complete"/>.</summary>
    public RunList<PageRange> Ranges => _ranges;

    /// <summary>Takes in what a scan has reported, in ascending order of calls as well.</summary>
    public void Add(RunList<PageRun> populated)
    {
        const PageCategories anythingElse = PageCategories.Swapped | PageCategories.ZeroFrame | PageCategories.File | PageCategories.Guard;
        foreach (var run in populated)
        {
            if ((run.Flags & (PageCategories.Present | anythingElse)) != PageCategories.Present) continue;
            if (_open.End == run.Range.Start)
            {
                _open = PageRange.Between(_open.Start, run.Range.End);
                continue;
            }

            Complete();
            _open = run.Range;
        }
    }

    /// <summary>All that there is has been taken in.</summary>
    public void Complete()
    {
        var blocks = WholeBlocks(_open);
        if (blocks.Count >= LeastPages) _ranges.Add(blocks);
        _open = default;
    }

    /// <summary>Nothing is known.</summary>
    public void Clear()
    {
        _ranges.Clear();
        _open = default;
    }

    /// <summary>The whole page tables in a range.</summary>
    public static PageRange WholeBlocks(PageRange range)
    {
        var first = (range.Start.Number + BlockPages - 1) / BlockPages * BlockPages;
        var end = range.End.Number / BlockPages * BlockPages;
        return first < end ? PageRange.Between(new VirtualPage(first), new VirtualPage(end)) : default;
    }
}
