using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Memory;

/// <summary>What the parent checkpoint knows of one process's memory, laid out for walking beside a scan. Built before the freeze.</summary>
public sealed class ParentMap
{
    /// <summary>No parent: nothing can be kept.</summary>
    public static readonly ParentMap None = new(null, []);

    /// <summary>Content everywhere: for the rehearsal, which has no parent and is to take an increment's path.</summary>
    public static readonly ParentMap Pretended = new(null, [new PageSpan(new PageRange(default, 1UL << (64 - VirtualPage.Shift)), PageKind.Chunk)]);

    private readonly PageSpan[] _spans;
    private readonly MapsEntry[] _trackedVmas;

    /// <summary>Takes over a parent's VMAs and page map.</summary>
    /// <param name="process">The process in the parent's manifest.</param>
    /// <param name="spans">Its page map, in address order.</param>
    public ParentMap(Process? process, IReadOnlyList<PageSpan> spans)
    {
        _spans = [.. spans];
        _trackedVmas = process is null ? [] : [.. process.Vmas.Where(v => v.Tracked).Select(ToEntry).OrderBy(v => v.Start)];
    }

    /// <summary>Runs of the page map in address order.</summary>
    public ReadOnlySpan<PageSpan> Spans => _spans;

    /// <summary>Pages with content: what a capture may at most keep.</summary>
    public ulong Pages => _spans.Aggregate(0UL, (sum, s) => sum + (s.Kind is PageKind.Chunk or PageKind.Zero ? s.Range.Count : 0));

    /// <summary>The parts of a VMA for which the parent had a VMA with the same backing that its tracker vouched for.</summary>
    public void TrackedParts(in MapsEntry now, RunList<PageRange> parts)
    {
        parts.Clear();
        for (var i = FirstEndingBehind(now.Start); i < _trackedVmas.Length && _trackedVmas[i].Start < now.End; i++)
        {
            ref readonly var old = ref _trackedVmas[i];
            if (!HasSameBacking(old, now)) continue;
            var range = PageRange.OfAddresses(old.Start, old.End).Intersect(PageRange.OfAddresses(now.Start, now.End));
            if (parts.Count > 0 && parts[parts.Count - 1].End == range.Start)
                parts[parts.Count - 1] = new PageRange(parts[parts.Count - 1].Start, parts[parts.Count - 1].Count + range.Count);
            else
                parts.Add(range);
        }
    }

    // Names of anonymous memory ("[heap]", prctl names) may come and go without the memory changing.
    private static bool HasSameBacking(in MapsEntry old, in MapsEntry now) =>
        old.Shared == now.Shared && old.Inode == now.Inode && old.Device == now.Device
        && (now.Inode == 0 || old.OffsetBytes - old.Start == now.OffsetBytes - now.Start);

    private int FirstEndingBehind(ulong address)
    {
        int low = 0, high = _trackedVmas.Length;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (_trackedVmas[middle].End <= address) low = middle + 1;
            else high = middle;
        }

        return low;
    }

    private static MapsEntry ToEntry(Vma v) => new(v.Start, v.End, (MemoryProtection)v.Protection, v.Shared, v.OffsetBytes,
        new DeviceNumber(v.DevMajor, v.DevMinor), v.Inode, v.Name);
}
