using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Snapshots;

/// <summary>
/// Reads pages of a snapshot into the store, while the target runs. By /proc/PID/mem: process_vm_readv pins pages, and for that the kernel gives the copy a page of its own for each that it shares
/// (gup_must_unshare, mm/internal.h), which would double the memory. Each page must be there in the copy as it was in the target: what is not was left out of it (MADV_DONTFORK, MADV_WIPEONFORK).
/// </summary>
public sealed class SnapshotReader : IDisposable
{
    private const int WindowPages = 1024;
    private readonly int _pid;
    private readonly RemoteMemory _memory;
    private readonly PagemapScanScanner _scanner;
    private readonly MappedMemory _window = new(WindowPages * VirtualPage.Size, huge: true);
    private readonly RunList<PageRun> _there = new(64);

    /// <summary>Opens the copy.</summary>
    /// <exception cref="SnapshotLostException">It is gone.</exception>
    public SnapshotReader(ProcessSnapshot snapshot)
    {
        _pid = snapshot.Pid;
        try
        {
            _memory = RemoteMemory.Open(_pid);
            _scanner = new PagemapScanScanner(_pid, KernelProbes.Current.PagemapScanCategories);
        }
        catch (LinuxException e)
        {
            _memory?.Dispose();
            ((IDisposable)_window).Dispose();
            throw new SnapshotLostException(e.Message);
        }
    }

    /// <summary>Reads pages that held data in the target, none of them known to be zero.</summary>
    /// <param name="range">Pages.</param>
    /// <param name="space">Where they go.</param>
    /// <param name="unreadable">Told of pages that can't be read.</param>
    /// <exception cref="SnapshotLostException">The copy is gone, or lacks a page.</exception>
    public void Read(PageRange range, ISpaceWriter space, List<UnreadablePage> unreadable)
    {
        while (!range.IsEmpty)
        {
            var part = range with { Count = Math.Min(range.Count, WindowPages) };
            CheckThere(part);
            ReadWindow(part, space, unreadable);
            range = PageRange.Between(part.End, range.End);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _scanner.Dispose();
        _memory.Dispose();
        ((IDisposable)_window).Dispose();
    }

    private void CheckThere(PageRange range)
    {
        _there.Clear();
        try
        {
            _scanner.Scan(range, fileMapping: true, _there);
        }
        catch (LinuxException e)
        {
            throw new SnapshotLostException(e.Message);
        }

        var at = range.Start;
        foreach (var run in _there)
        {
            if (run.Range.Start != at || (run.Flags & (PageCategories.ZeroFrame | PageCategories.File | PageCategories.Guard)) != 0) break;
            at = run.Range.End;
        }

        if (at != range.End) throw new SnapshotLostException($"the copy has nothing at 0x{at.Address:x}, where the process had a page");
    }

    private void ReadWindow(PageRange range, ISpaceWriter space, List<UnreadablePage> unreadable)
    {
        var wanted = (int)range.Count * VirtualPage.Size;
        var (from, done) = (0, 0); // read and not saved yet: from..done
        while (done < wanted)
        {
            var page = range.Start + (ulong)(done / VirtualPage.Size);
            var n = _memory.TryReadForced(page.Address, _window.GetSpan()[done..wanted]);
            if (n is 0 or -Errno.ESRCH) throw new SnapshotLostException($"/proc/{_pid}/mem: the copy is gone");
            var whole = Math.Max(0, n) / VirtualPage.Size * VirtualPage.Size;
            done += whole;
            if (whole > 0) continue;
            unreadable.Add(new UnreadablePage(page, n < 0 ? -n : Errno.EIO));
            Save(range, from, done, space);
            from = done += VirtualPage.Size;
        }

        Save(range, from, done, space);
    }

    private void Save(PageRange range, int from, int to, ISpaceWriter space)
    {
        if (to > from) space.SetContent(range.Start + (ulong)(from / VirtualPage.Size), _window.Memory[from..to]);
    }
}
