using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Snapshots;
using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Capture.Memory;

/// <summary>
/// The memory of one process from plan to page map. In order: <see cref="Prepare"/> (running), <see cref="BeginFrozen"/>,
/// <see cref="BeginTracking"/> and <see cref="ScanAndCopy"/> (frozen), <see cref="Deliver"/>, <see cref="CheckSamples"/> and
/// <see cref="Describe"/> (running again). Rounds may go before it: <see cref="Prepare"/>, <see cref="BeginFrozen"/>,
/// <see cref="BeginTracking"/> and <see cref="Arm"/> (frozen), <see cref="PreCopy"/> (running again). The frozen part allocates only where its lists grow beyond what an earlier pass needed.
/// </summary>
public sealed class MemoryCapture : IScanSink, IDisposable
{
    private readonly MemoryRequest _request;
    private readonly VmaPlan _vmas;
    private readonly bool _vmasAreRead;
    private readonly PagePlan _plan = new();
    private readonly SampleSet _samples = new();
    private readonly RunList<PageRun> _runs = new(16384);
    private readonly RunList<PageRange> _trusted = new(64);
    private readonly TargetTracking _tracking;
    private readonly ParentMap _parent;
    private readonly ExclusionRules _exclusions;
    private readonly AwayWalk _away = new();
    private readonly HotMemory _hot;
    private readonly PreCopiedSpace? _preCopied;
    private readonly ISpaceWriter _space;
    private PageReader? _reader;
    private PageBuffer? _buffer;
    private static readonly RunList<PageRange> NothingTrusted = new();
    private ProcessSnapshot? _snapshot;
    private readonly RunList<PageRange> _private = new(); // of what a round would read
    private WriteSample? _writes;
    private int _userfaultfds;
    private readonly List<PageRange> _afterSnapshot = []; // what the kernel may have written since the snapshot: in order, apart from each other
    private int _nextAfter; // of those, to be copied
    private int _vma;          // being planned
    private int _nextRun;      // of the plan, to be copied
    private VirtualPage _copied; // pages in front of it are asked for

    private MemoryCapture(MemoryRequest request)
    {
        _request = request;
        _preCopied = request.Round is { } round ? new PreCopiedSpace(request.Space, round.Pages) : null;
        _space = _preCopied ?? request.Space;
        var ahead = request.Round is null ? request.Vmas?.GetAwaiter().GetResult() : null;
        _vmasAreRead = ahead is not null || request.Round is not null && !request.Options.HonourDontDump;
        _vmas = request.Round?.Vmas ?? ahead ?? new VmaPlan(request.Pid, request.Options.EmbedFiles, request.Options.HonourDontDump);
        _parent = request.Parent is { } parent ? new ParentMap(parent.Process, _space.ParentSpans)
            : request.Rehearsal ? ParentMap.Pretended : ParentMap.None;
        _exclusions = new ExclusionRules(request.Options.Exclude);
        _hot = request.Parent is { } known ? new HotMemory(known.Process) : new HotMemory();
        _tracking = new TargetTracking(request, _away, _hot);
    }

    /// <summary>Pages looked at.</summary>
    public ulong PagesScanned => _plan.Scanned;

    /// <summary>Pages read because they could not be proven unchanged, in the freeze or in a round before it and not again since.</summary>
    public ulong PagesDirty => _plan.ToRead + (_preCopied?.CountRead(_plan.Runs) ?? 0);

    /// <summary>The tracker can watch while pages are copied from the running process.</summary>
    public bool CanPreCopy => Tracker == TrackerKind.Uffd;

    /// <summary>Pages can be kept, from the parent or from a round.</summary>
    public bool IsContinuous => _tracking.IsContinuous;

    /// <summary>Pages kept from the parent.</summary>
    public ulong PagesKept => _plan.Kept;

    /// <summary>Clean pages re-read.</summary>
    public int PagesSampled => _samples.Count;

    /// <summary>What will have to be copied, estimated on the running target: sizes the buffer.</summary>
    public long EstimatedBytes { get; private set; }

    /// <summary>Of that, what a tracker can watch.</summary>
    public long TrackableBytes { get; private set; }

    /// <summary>What was written everywhere before the last capture as well.</summary>
    public long HotBytes => _tracking.IsContinuous ? _hot.KnownBytes : 0;

    /// <summary>Of what will have to be copied, what a snapshot has as well.</summary>
    public long SnapshotBytes { get; private set; }

    /// <summary>A copy of the process as of this freeze, from which what it has is read after the thaw; null if there is none.</summary>
    public ProcessSnapshot? Snapshot => _snapshot;

    /// <summary>All that was there, to be copied or not.</summary>
    public long PopulatedBytes { get; private set; }

    /// <summary>The tracker in use.</summary>
    public TrackerKind Tracker => _tracking.Kind;

    /// <summary>True if the tracker has to run system calls in the target: pass <see cref="IRemoteSyscalls"/> to <see cref="BeginTracking"/>.</summary>
    public bool NeedsRemote => _tracking.NeedsRemote;

    /// <summary>What a person should be told: fallbacks that were not asked for.</summary>
    public IEnumerable<string> Warnings => _plan.Hidden == 0 ? _tracking.Warnings : _tracking.Warnings.Append(
        $"process {_request.Pid}: {_plan.Hidden} pages of shared memory that it has not mapped are left out, for they may be holes, which reading would fill; `crstore show` lists them");

    /// <summary>The VMAs as of the freeze.</summary>
    public IReadOnlyList<PlannedVma> Vmas => _vmas.Vmas;

    /// <summary>Parts of files and shared memory objects whose content the page map has, as of the freeze.</summary>
    public IEnumerable<FileRange> SavedFileRanges => _vmas.SavedFileRanges;

    /// <summary>The plan as of the freeze.</summary>
    public PagePlan Plan => _plan;

    /// <summary>
    /// Everything that doesn't need the target frozen: smaps, files, tracker and continuity, the parent's page map, an estimate
    /// of the dirty pages. Takes the target's continuity record, so that no two captures of one target overlap.
    /// </summary>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    /// <exception cref="EnvironmentException">The tracker that was asked for does not work here.</exception>
    /// <exception cref="StoreBusyException">Another capture of the same target is under way.</exception>
    public static MemoryCapture Prepare(MemoryRequest request)
    {
        var capture = new MemoryCapture(request);
        try
        {
            if (!capture._vmasAreRead) capture._vmas.Prepare();
            capture._tracking.Prepare(capture._vmas.Vmas);
            capture.Estimate();
            return capture;
        }
        catch (LinuxException e)
        {
            capture.Dispose();
            throw Refused(request.Pid, e);
        }
        catch
        {
            capture.Dispose();
            throw;
        }
    }

    /// <summary>After <see cref="Prepare"/>, while it runs, before a first round: from now on <see cref="WrittenBytes"/> tells what it writes. Nothing is done to it. Of one that is gone, what comes next tells.</summary>
    /// <param name="mostPages">Pages in the sample.</param>
    public void WatchWrites(int mostPages)
    {
        try
        {
            _writes = new WriteSample(_request.Pid, _private, mostPages);
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

    /// <summary>In the freeze, before anything is injected: the mappings as they are now. The crew begins to look at them.</summary>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    public void BeginFrozen()
    {
        try
        {
            _vmas.Refresh();
            if (Tracker == TrackerKind.Uffd) _away.Begin(_request.Pid, _vmas.Vmas, _request.Crew);
        }
        catch (LinuxException e)
        {
            throw Refused(_request.Pid, e);
        }
    }

    /// <summary>What speaks against a snapshot, before the freeze; empty if nothing does.</summary>
    /// <param name="captured">All processes of the capture.</param>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    public string WhyNoSnapshot(IReadOnlyCollection<int> captured)
    {
        // It has found all userfaultfds there to be crstore's, and nothing that writes to memory unseen.
        if (Tracker != TrackerKind.Uffd) return $"it is not tracked by uffd ({_tracking.Proof().Reason})";
        try
        {
            using var proc = ProcDirectory.Open(_request.Pid);
            _userfaultfds = SnapshotGuard.CountUserfaultfds(proc);
            return SnapshotGuard.ChildrenElsewhere(proc) is { Length: > 0 } elsewhere ? elsewhere : SnapshotGuard.WhyNot(_request.Pid, captured, PopulatedBytes);
        }
        catch (LinuxException e)
        {
            throw Refused(_request.Pid, e);
        }
    }

    /// <summary>
    /// In the freeze, between <see cref="BeginFrozen"/> and <see cref="BeginTracking"/>, and before anything is reset: makes a snapshot.
    /// </summary>
    /// <returns>Why there is none; empty if there is.</returns>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    public string TryTakeSnapshot(FrozenProcess process)
    {
        try
        {
            using var proc = ProcDirectory.Open(process.Leader.Tid);
            if (SnapshotGuard.WhyNot(proc, _vmas.Vmas, _userfaultfds) is { Length: > 0 } against) return against;
            using var remote = RemoteSyscalls.TryBegin(process, out var whyNot);
            if (remote is null) return whyNot!;
            var copy = remote.TrySnapshot(out whyNot);
            if (copy == 0) return whyNot;
            _snapshot = new ProcessSnapshot(copy);
            FindRseqPages(process);
            return "";
        }
        catch (LinuxException e)
        {
            throw Refused(_request.Pid, e);
        }
    }

    // The kernel writes there on which processor a thread goes on, rseq(2), and each of them is made to go on once more, to be asked.
    private void FindRseqPages(FrozenProcess process)
    {
        var pages = new List<PageRange>(process.Threads.Count);
        foreach (var thread in process.Threads)
            if (Ptrace.GetRseq(thread.Tid) is { Address: > 0 } rseq) pages.Add(PageRange.Between(VirtualPage.Of(rseq.Address), VirtualPage.Of(rseq.Address + rseq.SizeBytes - 1) + 1));
        pages.Sort(static (a, b) => a.Start.Number.CompareTo(b.Start.Number));
        foreach (var range in pages)
        {
            if (_afterSnapshot.Count > 0 && _afterSnapshot[^1] is var last && range.Start.Number <= last.End.Number)
                _afterSnapshot[^1] = PageRange.Between(last.Start, new VirtualPage(Math.Max(last.End.Number, range.End.Number)));
            else _afterSnapshot.Add(range);
        }
    }

    /// <summary>In a freeze that is given up before anything was reset: the round that it was to follow, for another attempt; null if there was none.</summary>
    public PreCopiedRound? TakeRound() => _request.Round is { } round ? round with { Record = _tracking.TakeRecord() } : null;

    /// <summary>In the freeze: the tracker is made ready, in the target where need be. Dispose the remote calls before <see cref="ScanAndCopy"/>.</summary>
    /// <param name="process">The target.</param>
    /// <param name="remote">System calls in it, if they can be made.</param>
    /// <param name="pinningFd">One of its fds of which <see cref="MemoryPins"/> tell; empty if there is none.</param>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    public void BeginTracking(FrozenProcess process, IRemoteSyscalls? remote, string pinningFd)
    {
        try
        {
            _tracking.Begin(process, remote, _vmas.Vmas, pinningFd);
        }
        catch (LinuxException e)
        {
            throw Refused(_request.Pid, e);
        }
    }

    /// <summary>
    /// In the freeze: scans, resets the dirty state, decides what to do with each page, and copies the pages to read, beginning with
    /// the first while the rest is scanned, and the sample. When the buffer is full it is drained into the store at once and used again.
    /// </summary>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    public void ScanAndCopy(PageBuffer buffer)
    {
        try
        {
            CompleteWalk();
            using var reader = _reader = new PageReader(_request.Pid, buffer.Queue, _request.Crew, _request.Watchdog);
            ScanAll(buffer);
            _request.Watchdog?.Enter("copy");
            _samples.Take(_plan, _request.Options.SampleShare, _request.Round?.Pages ?? PreCopiedPages.None, reader, buffer, _space);
            reader.Flush(buffer, _space);
        }
        catch (LinuxException e)
        {
            throw Refused(_request.Pid, e);
        }
        finally
        {
            _tracking.End();
        }
    }

    /// <summary>In the freeze, instead of <see cref="ScanAndCopy"/>: only scans and resets, so that the tracker knows what is written from now on.</summary>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    public void Arm()
    {
        try
        {
            CompleteWalk();
            ScanAll(null);
        }
        catch (LinuxException e)
        {
            throw Refused(_request.Pid, e);
        }
        finally
        {
            _tracking.EndRound();
        }
    }

    /// <summary>After <see cref="Arm"/> and the thaw: reads what was written and the tracker now watches, while the process runs.</summary>
    /// <returns>For the next round: what is known of its pages, and the link with the proof that holds it together.</returns>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    public PreCopiedRound PreCopy()
    {
        try
        {
            var pages = new PreCopiedPages(_request.Round?.Pages, _plan.ToRead, _request.Options.SampleShare);
            var proof = _tracking.Proof();
            var holds = !proof.GenerationToken.IsEmpty && !proof.AtRandom.IsEmpty; // else the next round would believe nothing of it
            // What is read of a process that is new to the tracker takes seconds, and the store may begin with it; what is read again is little, and likely to be written again.
            using var copier = new PreCopier(_request.Pid, _request.Space, IsContinuous ? _request.Held : null, pages);
            foreach (var run in _plan.Runs)
            {
                if (!holds || _vmas.Vmas[run.Vma] is not { Tracked: true } vma) continue;
                if (run.Action == PageAction.Keep) pages.Keep(run.Range);
                else if (run.Action == PageAction.Zero) pages.AddZero(run.Range);
                else if (run.Action == PageAction.Read && vma.Readable) copier.Copy(run.Range);
            }

            copier.Flush();
            pages.Complete();
            var process = new Process { Pid = _request.Pid, StartTimeTicks = _tracking.StartTimeTicks };
            foreach (var vma in _vmas.Vmas) process.Vmas.Add(vma.ToMessage());
            var link = new ParentLink(process, proof, _tracking.BootId, _request.Crid) { Name = "the last round of this capture" };
            var first = _request.Round is { } before && proof.Continuous ? before.First : proof; // a round that reads everything begins anew
            return new PreCopiedRound(pages, link, first, (_request.Round?.Number ?? 0) + 1, _vmas, _tracking.TakeRecord());
        }
        catch (LinuxException e)
        {
            throw Refused(_request.Pid, e);
        }
    }

    /// <summary>After the thaw, before all else: reads from the snapshot what the freeze left to it, and ends it.</summary>
    /// <exception cref="SnapshotLostException">It was ended, or lacks a page: the capture has to begin anew.</exception>
    public void ReadSnapshot()
    {
        if (_snapshot is null) return;
        using (var reader = new SnapshotReader(_snapshot))
        {
            var next = 0;
            foreach (var run in _plan.Runs)
            {
                if (run.Action != PageAction.Read || !IsInSnapshot(run)) continue;
                var at = run.Range.Start;
                while (NextAfter(ref next, PageRange.Between(at, run.Range.End)) is { IsEmpty: false } copied)
                {
                    reader.Read(PageRange.Between(at, copied.Start), _space, _reader!.Unreadable);
                    at = copied.End;
                }

                reader.Read(PageRange.Between(at, run.Range.End), _space, _reader!.Unreadable);
            }
        }

        _snapshot.Dispose();
    }

    /// <summary>After the thaw: the pages that will have content in the page map, in address order.</summary>
    public IReadOnlyList<PageRange> Content()
    {
        var all = new List<PageRange>();
        var unreadable = _reader!.Unreadable.Select(u => u.Page.Number).Order().ToList();
        foreach (var run in _plan.Runs)
        {
            if (run.Action is not (PageAction.Keep or PageAction.Zero or PageAction.Read)) continue;
            var start = run.Range.Start;
            if (run.Action == PageAction.Read)
            {
                for (var next = unreadable.FindIndex(n => n >= start.Number); next >= 0 && next < unreadable.Count && unreadable[next] < run.Range.End.Number; next++)
                {
                    Add(PageRange.Between(start, new VirtualPage(unreadable[next])));
                    start = new VirtualPage(unreadable[next] + 1);
                }
            }

            Add(PageRange.Between(start, run.Range.End));
        }

        return all;

        void Add(PageRange range)
        {
            if (range.IsEmpty) return;
            if (all.Count > 0 && all[^1].End == range.Start) all[^1] = new PageRange(all[^1].Start, all[^1].Count + range.Count);
            else all.Add(range);
        }
    }

    /// <summary>After the thaw: tells the store what is kept, zero and left out. The content itself comes from <see cref="PageBuffer.Drain"/>.</summary>
    public void Deliver()
    {
        _preCopied?.DropAllBut(_plan.Runs);
        foreach (var run in _plan.Runs)
        {
            if (run.Action == PageAction.Keep) _space.Keep(run.Range);
            else if (run.Action == PageAction.Zero) _space.SetZero(run.Range);
            else if (run.Action is PageAction.Exclude or PageAction.Hide) _space.SetExcluded(run.Range);
        }

        foreach (var page in _reader!.Unreadable) _space.SetExcluded(new PageRange(page.Page, 1));
    }

    /// <summary>
    /// After the thaw: compares the sampled clean pages with the parent. Any page returned is a lie of the tracker: the caller
    /// captures again with <see cref="MemoryRequest.ReadEverything"/> and distrusts the tracker for the series.
    /// </summary>
    public IReadOnlyList<VirtualPage> CheckSamples()
    {
        var unreadable = new List<VirtualPage>();
        var lies = _samples.FindLies(_space, unreadable);
        foreach (var page in unreadable)
        {
            _space.SetExcluded(new PageRange(page, 1));
            _reader!.Unreadable.Add(new UnreadablePage(page, Errno.EIO));
        }

        return lies;
    }

    /// <summary>After the thaw: the VMAs, what was left out, and the tracker's proof, for the manifest.</summary>
    /// <param name="vmas">The process's VMAs, in address order.</param>
    /// <param name="exclusions">What was left out or could not be read.</param>
    /// <returns>The proof.</returns>
    public TrackerProof Describe(ICollection<Vma> vmas, ICollection<Exclusion> exclusions)
    {
        _vmas.CompleteAfterThaw();
        AddVmas(vmas);
        AddExclusions(exclusions);
        var proof = _tracking.Proof();
        if (_request.Round is not { } round) return proof;
        // Of continuity with the parent checkpoint: the rounds of a capture are its own affair.
        var rounds = round.Number == 1 ? "saved while it ran" : $"saved in {round.Number} rounds while it ran";
        proof.Reason = $"{round.First.Reason}; {rounds}, and then {(proof.Continuous ? "what it wrote meanwhile" : $"everything again: {proof.Reason}")}";
        proof.Continuous = round.First.Continuous && proof.Continuous;
        return proof;
    }

    /// <summary>What was left out or could not be read, as far as is known by now.</summary>
    public void AddExclusions(ICollection<Exclusion> exclusions) =>
        ExclusionReport.Fill(_request.Pid, _vmas.Vmas, _plan, _reader?.Unreadable ?? [], exclusions);

    /// <inheritdoc/>
    public void Dispose()
    {
        _writes?.Dispose();
        _snapshot?.Dispose();
        _samples.Dispose();
        _away.Dispose();
        _tracking.Dispose();
    }

    private void AddVmas(ICollection<Vma> vmas)
    {
        foreach (var vma in _vmas.Vmas)
        {
            var message = vma.ToMessage();
            foreach (var guard in _plan.Guards)
            {
                if (guard.Intersect(vma.Range) is { IsEmpty: false } part) message.Guards.Add(new GuardRegion { Start = part.Start.Address, SizeBytes = part.SizeBytes });
            }

            _hot.Describe(message);
            vmas.Add(message);
        }
    }

    private void CompleteWalk()
    {
        if (Tracker == TrackerKind.Uffd) _away.Complete();
        _tracking.PrepareScan(_vmas.Vmas);
    }

    private void ScanAll(PageBuffer? buffer)
    {
        _buffer = buffer;
        _plan.Reset(_parent);
        // What a round has read, or will, must be protected to be known as unwritten.
        _hot.Begin(rests: buffer is not null && _request.Round is null && _tracking.IsContinuous && _request.Options.LeaveHot);
        (_nextRun, _copied, _nextAfter) = (0, default, 0);
        for (_vma = 0; _vma < _vmas.Vmas.Count; _vma++) PlanVma(_vmas.Vmas[_vma]);
        _tracking.Finish();
    }

    private void PlanVma(PlannedVma vma)
    {
        if (vma.Policy == ReadPolicy.Nothing) return;
        _trusted.Clear();
        if (vma.Policy is ReadPolicy.Everything or ReadPolicy.SharedData)
        {
            _runs.Clear();
            SharedData.Find(_request.Pid, vma, _runs);
            ((IScanSink)this).Take(_runs, covered: false);
            return;
        }

        if (_tracking.IsContinuous) _parent.TrackedParts(vma.Entry, _trusted);
        _tracking.Scan(vma, this);
    }

    // What is to be read of a piece is copied at once, while the next one is scanned.
    void IScanSink.Take(RunList<PageRun> runs, bool covered)
    {
        _request.Watchdog?.ThrowIfExpired();
        var vma = _vmas.Vmas[_vma];
        var dirty = _tracking.Dirty;
        if (_request.Rehearsal && _vma % 2 == 0)
        {
            // As if nothing here were written: keeping and sampling are to be rehearsed as well.
            _trusted.Clear();
            _trusted.Add(vma.Range);
            (dirty, covered) = (PageCategories.WriteProtectAllowed, true);
        }

        _plan.Add(vma, _vma, runs, dirty, covered ? _trusted : NothingTrusted, _exclusions.For(vma));
        CopyPlanned();
    }

    private void CopyPlanned()
    {
        if (_buffer is null) return; // only armed
        for (; _nextRun < _plan.Runs.Count; _nextRun++)
        {
            var run = _plan.Runs[_nextRun];
            if (run.Action == PageAction.Read)
            {
                var rest = PageRange.Between(new VirtualPage(Math.Max(_copied.Number, run.Range.Start.Number)), run.Range.End);
                if (!IsInSnapshot(run)) Copy(rest, run);
                else
                {
                    for (; NextAfter(ref _nextAfter, rest) is { IsEmpty: false } written; rest = PageRange.Between(written.End, rest.End)) Copy(written, run);
                }

                _copied = run.Range.End;
            }

            if (_nextRun == _plan.Runs.Count - 1) return; // the next piece may make it longer
        }
    }

    private void Copy(PageRange range, in PlanRun run)
    {
        if (!range.IsEmpty) _reader!.Copy(range, !_vmas.Vmas[run.Vma].Readable, _buffer!, _space);
    }

    // The first part of a range that has to be copied in the freeze though the snapshot has it; empty if there is none. Ranges come in ascending order.
    private PageRange NextAfter(ref int next, PageRange range)
    {
        while (next < _afterSnapshot.Count && _afterSnapshot[next].End.Number <= range.Start.Number) next++;
        return next < _afterSnapshot.Count ? _afterSnapshot[next].Intersect(range) : default;
    }

    private bool IsInSnapshot(in PlanRun run) => _snapshot is not null && SnapshotGuard.Has(_vmas.Vmas[run.Vma]);

    // Populated memory of the running target, less what the parent has if the tracker can vouch for it. Only sizes the buffer.
    private void Estimate()
    {
        ulong pages = 0, trackable = 0, populated = 0, inSnapshot = 0;
        using var scanner = KernelProbes.Current.OpenScanner(_request.Pid, needSoftDirty: _tracking.Kind == TrackerKind.SoftDirty);
        foreach (var vma in _vmas.Vmas)
        {
            if (vma.Policy == ReadPolicy.Nothing) continue;
            _runs.Clear();
            if (vma.Policy is ReadPolicy.Everything or ReadPolicy.SharedData) SharedData.Find(_request.Pid, vma, _runs);
            else scanner.Scan(vma.Range, vma.File is not null, _runs);
            var tracked = vma.Trackable && _tracking.IsContinuous;
            foreach (var run in _runs)
            {
                populated += run.Range.Count;
                if (run.Flags == SharedData.Unknown || !PagePlan.MayRead(vma, run.Flags) || (tracked && (run.Flags & _tracking.Dirty) == 0)) continue;
                pages += run.Range.Count;
                if (SnapshotGuard.Has(vma))
                {
                    inSnapshot += run.Range.Count;
                    if (vma.Readable) _private.Add(run.Range);
                }

                if (vma.Trackable && (run.Flags & PageCategories.File) == 0) trackable += run.Range.Count;
            }
        }

        PopulatedBytes = (long)populated * VirtualPage.Size;
        TrackableBytes = (long)trackable * VirtualPage.Size;
        SnapshotBytes = (long)inSnapshot * VirtualPage.Size;

        // What the target will have written until the freeze: a good part of what was dirty, but hardly much of everything.
        EstimatedBytes = (long)(pages + pages / (_tracking.IsContinuous ? 8UL : 32UL) + 512) * VirtualPage.Size;
        _samples.Prepare(_tracking.IsContinuous ? _parent.Pages : 0, _request.Options.SampleShare);
        _plan.Reset(ParentMap.None);
    }

    private static TargetException Refused(int pid, LinuxException e) => new(
        $"process {pid}: {e.Message}",
        e.ErrorNumber is Errno.EPERM or Errno.EACCES
            ? "run as root or as the process's own user with ptrace allowed (kernel.yama.ptrace_scope, CAP_SYS_PTRACE); `crstore doctor PID` tells what is missing"
            : null,
        e);
}
