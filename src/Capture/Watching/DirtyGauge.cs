using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Watching;

/// <summary>
/// About how much of a process, or of a tree, has changed since its last capture: asked from outside by a PAGEMAP_SCAN that protects and resets
/// nothing. Nobody is stopped for it, and no proof depends on the answer. Shared memory and pages of files are not counted.
/// </summary>
public sealed class DirtyGauge
{
    private static readonly PageRange UserSpace = PageRange.OfAddresses(0, 0x7FFF_FFFF_F000); // TASK_SIZE, arch/x86/include/asm/page_64_types.h

    private readonly Dictionary<int, ulong> _untracked = []; // bytes in mappings that the tracker doesn't watch, right after the capture
    private readonly RunList<PageRun> _runs = new(4096);
    private readonly PageCategories _changed;
    private readonly bool _tree;

    private DirtyGauge(PageCategories changed, bool tree) => (_changed, _tree) = (changed, tree);

    /// <summary>A gauge for what a capture has just armed.</summary>
    /// <param name="manifest">Of the capture.</param>
    /// <param name="whyNot">Why nothing tells what changes; empty if there is a gauge.</param>
    public static DirtyGauge? After(CheckpointManifest manifest, out string whyNot)
    {
        whyNot = "";
        switch (manifest.Header.Tracker)
        {
            case TrackerKind.Uffd:
                break;
            case TrackerKind.SoftDirty when (KernelProbes.Current.PagemapScanCategories & PageCategories.SoftDirty) != 0:
                break;
            case TrackerKind.SoftDirty:
                whyNot = "this kernel does not tell soft-dirty pages by PAGEMAP_SCAN (Linux 6.8)";
                return null;
            default:
                whyNot = manifest.Body.Proofs is [{ Reason.Length: > 0 } proof, ..] ? proof.Reason : "no tracker is used";
                return null;
        }

        var uffd = manifest.Header.Tracker == TrackerKind.Uffd;
        var gauge = new DirtyGauge(uffd ? PageCategories.Written : PageCategories.SoftDirty, manifest.Header.Tree);
        if (!uffd) return gauge;
        foreach (var process in manifest.Body.Processes)
            if (gauge.TryScan(process.Pid)) gauge._untracked[process.Pid] = gauge.Bytes(registered: false);
        return gauge;
    }

    /// <summary>Bytes that have changed.</summary>
    /// <param name="root">Of the tree.</param>
    public ulong Measure(int root)
    {
        var sum = 0UL;
        var pids = new List<int> { root };
        for (var i = 0; i < pids.Count; i++)
        {
            if (_tree) pids.AddRange(TaskList.Children(pids[i]));
            if (!TryScan(pids[i])) continue; // gone
            var (registered, others) = (Bytes(registered: true), Bytes(registered: false));
            // By soft-dirty every mapping is watched. By uffd a new one isn't yet, and all that is in it is new; what another one has that can't be
            // watched reads as written at all times, and only counts as far as it grows.
            var known = _changed == PageCategories.Written ? Math.Min(others, _untracked.GetValueOrDefault(pids[i])) : 0;
            sum += registered + others - known;
        }

        return sum;
    }

    private bool TryScan(int pid)
    {
        _runs.Clear();
        try
        {
            using var scanner = new PagemapScanScanner(pid, KernelProbes.Current.PagemapScanCategories);
            scanner.ScanChanged(UserSpace, _changed, _runs);
            return true;
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.ENOENT or Errno.ESRCH or Errno.EACCES or Errno.EPERM)
        {
            return false; // ended, or on its way; or what it has become since may not be looked at: the next capture says so
        }
    }

    private ulong Bytes(bool registered)
    {
        var pages = 0UL;
        foreach (var run in _runs)
            if ((run.Flags & PageCategories.WriteProtectAllowed) != 0 == registered) pages += run.Range.Count;
        return pages * VirtualPage.Size;
    }
}
