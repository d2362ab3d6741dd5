using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model;

namespace Crstore.Capture.Snapshots;

/// <summary>
/// The snapshot of one process in a capture of its memory: whether there may be one, its making, which pages are read from it after the thaw, and which of those have
/// to be copied in the freeze all the same.
/// </summary>
/// <param name="pid">The process.</param>
internal sealed class MemorySnapshot(int pid) : IDisposable
{
    private readonly List<PageRange> _written = []; // since it was made, by the kernel, for all that is known: in order, apart from each other
    private int _userfaultfds;

    /// <summary>A copy of the process as of the freeze; null if there is none.</summary>
    public ProcessSnapshot? Copy { get; private set; }

    /// <summary>Before the freeze: what speaks against one; empty if nothing does.</summary>
    /// <param name="captured">All processes of the capture.</param>
    /// <param name="populatedBytes">Its memory. The tracker has found all of its userfaultfds to be crstore's, and nothing that writes to memory unseen.</param>
    /// <exception cref="LinuxException">The process is gone or refused.</exception>
    public string WhyNot(IReadOnlyCollection<int> captured, long populatedBytes)
    {
        using var proc = ProcDirectory.Open(pid);
        _userfaultfds = SnapshotGuard.CountUserfaultfds(proc);
        return SnapshotGuard.ChildrenElsewhere(proc) is { Length: > 0 } elsewhere ? elsewhere : SnapshotGuard.WhyNot(pid, captured, populatedBytes);
    }

    /// <summary>In the freeze, after <see cref="WhyNot"/>: makes it.</summary>
    /// <param name="process">Frozen; nothing of it was reset yet.</param>
    /// <param name="vmas">Its mappings, as of the freeze.</param>
    /// <returns>Why there is none; empty if there is.</returns>
    /// <exception cref="LinuxException">The process is gone or refused.</exception>
    public string TryTake(FrozenProcess process, IReadOnlyList<PlannedVma> vmas)
    {
        using var proc = ProcDirectory.Open(process.Leader.Tid);
        if (SnapshotGuard.WhyNot(proc, vmas, _userfaultfds) is { Length: > 0 } against) return against;
        using var remote = RemoteSyscalls.TryBegin(process, out var whyNot);
        if (remote is null) return whyNot!;
        var copy = remote.TrySnapshot(out whyNot);
        if (copy == 0) return whyNot;
        Copy = new ProcessSnapshot(copy);
        FindRseqPages(process);
        return "";
    }

    /// <summary>It is there, and has the pages of this mapping, but for those that were <see cref="NextWritten"/>.</summary>
    public bool Has(PlannedVma vma) => Copy is not null && SnapshotGuard.Has(vma);

    /// <summary>The first part of a range that has to be copied in the freeze though the snapshot has it; empty if there is none.</summary>
    /// <param name="next">Where to go on: 0 at first. Ranges come in ascending order.</param>
    /// <param name="range">The range.</param>
    public PageRange NextWritten(ref int next, PageRange range)
    {
        while (next < _written.Count && _written[next].End.Number <= range.Start.Number) next++;
        return next < _written.Count ? _written[next].Intersect(range) : default;
    }

    /// <summary>After the thaw: reads what the freeze left to it, and ends it.</summary>
    /// <param name="plan">What is to be read.</param>
    /// <param name="vmas">The mappings that the plan is for.</param>
    /// <param name="space">Where pages go.</param>
    /// <param name="unreadable">Told of pages that can't be read.</param>
    /// <exception cref="SnapshotLostException">It was ended, or lacks a page: the capture has to begin anew.</exception>
    public void Read(PagePlan plan, IReadOnlyList<PlannedVma> vmas, ISpaceWriter space, List<UnreadablePage> unreadable)
    {
        if (Copy is null) return;
        using (var reader = new SnapshotReader(Copy))
        {
            var next = 0;
            foreach (var run in plan.Runs)
            {
                if (run.Action != PageAction.Read || !Has(vmas[run.Vma])) continue;
                var at = run.Range.Start;
                while (NextWritten(ref next, PageRange.Between(at, run.Range.End)) is { IsEmpty: false } copied)
                {
                    reader.Read(PageRange.Between(at, copied.Start), space, unreadable);
                    at = copied.End;
                }

                reader.Read(PageRange.Between(at, run.Range.End), space, unreadable);
            }
        }

        Copy.Dispose();
    }

    /// <inheritdoc/>
    public void Dispose() => Copy?.Dispose();

    // The kernel writes there on which processor a thread goes on, rseq(2), and each of them is made to go on once more, to be asked.
    private void FindRseqPages(FrozenProcess process)
    {
        var pages = new List<PageRange>(process.Threads.Count);
        foreach (var thread in process.Threads)
            if (Ptrace.GetRseq(thread.Tid) is { Address: > 0 } rseq) pages.Add(PageRange.Between(VirtualPage.Of(rseq.Address), VirtualPage.Of(rseq.Address + rseq.SizeBytes - 1) + 1));
        pages.Sort(static (a, b) => a.Start.Number.CompareTo(b.Start.Number));
        foreach (var range in pages)
        {
            if (_written.Count > 0 && _written[^1] is var last && range.Start.Number <= last.End.Number)
                _written[^1] = PageRange.Between(last.Start, new VirtualPage(Math.Max(last.End.Number, range.End.Number)));
            else _written.Add(range);
        }
    }
}
