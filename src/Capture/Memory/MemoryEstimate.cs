using Crstore.Capture.Snapshots;
using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Memory;

/// <summary>
/// What a capture will have to copy, estimated on the running process: its populated memory, less what the parent has if the tracker can vouch for it. And how much of that it
/// writes while it is looked at. Only sizes the buffer and chooses the way; nothing of the target is touched, and no proof depends on it, but for <see cref="Solid"/>.
/// </summary>
internal sealed class MemoryEstimate : IDisposable
{
    private readonly int _pid;
    private readonly RunList<PageRange> _private = new(); // of what a round would read
    private WriteSample? _writes;

    /// <summary>Looks at the process.</summary>
    /// <param name="pid">It.</param>
    /// <param name="vmas">Its mappings.</param>
    /// <param name="tracking">Prepared.</param>
    /// <param name="runs">Room for what a scan finds.</param>
    /// <exception cref="LinuxException">It is gone or refused.</exception>
    public MemoryEstimate(int pid, IReadOnlyList<PlannedVma> vmas, TargetTracking tracking, RunList<PageRun> runs)
    {
        _pid = pid;
        ulong pages = 0, trackable = 0, populated = 0, inSnapshot = 0;
        using var scanner = KernelProbes.Current.OpenScanner(pid, needSoftDirty: tracking.Kind == TrackerKind.SoftDirty);
        foreach (var vma in vmas)
        {
            if (vma.Policy == ReadPolicy.Nothing) continue;
            runs.Clear();
            if (vma.Policy is ReadPolicy.Everything or ReadPolicy.SharedData) SharedData.Find(pid, vma, runs);
            else scanner.Scan(vma.Range, vma.File is not null, runs);
            if (AwayWalk.Covers(vma)) Solid.Add(runs);
            var tracked = vma.Trackable && tracking.IsContinuous;
            foreach (var run in runs)
            {
                populated += run.Range.Count;
                if (run.Flags == SharedData.Unknown || !PagePlan.MayRead(vma, run.Flags) || (tracked && (run.Flags & tracking.Dirty) == 0)) continue;
                pages += run.Range.Count;
                if (SnapshotGuard.Has(vma))
                {
                    inSnapshot += run.Range.Count;
                    if (vma.Readable) _private.Add(run.Range);
                }

                if (vma.Trackable && (run.Flags & PageCategories.File) == 0) trackable += run.Range.Count;
            }
        }

        Solid.Complete();
        PopulatedBytes = (long)populated * VirtualPage.Size;
        TrackableBytes = (long)trackable * VirtualPage.Size;
        SnapshotBytes = (long)inSnapshot * VirtualPage.Size;

        // What the target will have written until the freeze: a good part of what was dirty, but hardly much of everything.
        CopyBytes = (long)(pages + pages / (tracking.IsContinuous ? 8UL : 32UL) + 512) * VirtualPage.Size;
    }

    /// <summary>Of what a tracker may vouch for, what was there without a gap.</summary>
    public SolidMemory Solid { get; } = new();

    /// <summary>All that was there, to be copied or not.</summary>
    public long PopulatedBytes { get; }

    /// <summary>What will have to be copied, and what may come to it until the freeze.</summary>
    public long CopyBytes { get; }

    /// <summary>Of what will have to be copied, what a tracker can watch.</summary>
    public long TrackableBytes { get; }

    /// <summary>Of what will have to be copied, what a snapshot has as well.</summary>
    public long SnapshotBytes { get; }

    /// <summary>From now on <see cref="WrittenBytes"/> tells what it writes. Of one that is gone, what comes next tells.</summary>
    /// <param name="mostPages">Pages in the sample.</param>
    public void WatchWrites(int mostPages)
    {
        try
        {
            _writes = new WriteSample(_pid, _private, mostPages);
        }
        catch (LinuxException)
        {
            _writes = null;
        }
    }

    /// <summary>After <see cref="WatchWrites"/>: estimated from a sample, how much of what a round would read has been changed since.</summary>
    public long WrittenBytes()
    {
        try
        {
            return _writes is { Count: > 0 } sample ? (long)((double)SnapshotBytes * sample.CountChanged() / sample.Count) : 0;
        }
        catch (LinuxException)
        {
            return 0;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _writes?.Dispose();
}
