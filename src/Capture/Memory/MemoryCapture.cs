using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Snapshots;
using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Linux.Memory;
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
    private readonly MemorySnapshot _snapshot;
    private readonly PlannedCopy _copy;
    private static readonly RunList<PageRange> NothingTrusted = new();
    private MemoryEstimate? _estimate;
    private PageReader? _reader;
    private int _vma; // being planned

    private MemoryCapture(MemoryRequest request, VmaPlan vmas)
    {
        _request = request;
        _preCopied = request.Round is { } round ? new PreCopiedSpace(request.Space, round.Pages) : null;
        _space = _preCopied ?? request.Space;
        _vmas = vmas;
        _parent = request.Parent is { } parent ? new ParentMap(parent.Process, _space.ParentSpans)
            : request.Rehearsal ? ParentMap.Pretended : ParentMap.None;
        _exclusions = new ExclusionRules(request.Options.Exclude);
        _hot = request.Parent is { } known ? new HotMemory(known.Process) : new HotMemory();
        _tracking = new TargetTracking(request, _away, _hot);
        _snapshot = new MemorySnapshot(request.Pid);
        _copy = new PlannedCopy(_plan, _vmas, _snapshot, _space);
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

    /// <summary>What was written everywhere before the last capture as well.</summary>
    public long HotBytes => _tracking.IsContinuous ? _hot.KnownBytes : 0;

    /// <summary>A copy of the process as of this freeze, from which what it has is read after the thaw; null if there is none.</summary>
    public ProcessSnapshot? Snapshot => _snapshot.Copy;

    /// <summary>What will have to be copied, estimated on the running target: sizes the buffer.</summary>
    public long EstimatedBytes => Estimate.CopyBytes;

    /// <summary>Estimated on the running target.</summary>
    internal MemoryEstimate Estimate => _estimate!;

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
        MemoryCapture? capture = null;
        try
        {
            capture = new MemoryCapture(request, ReadVmas(request));
            capture._tracking.Prepare(capture._vmas.Vmas);
            capture.PrepareRoom();
            return capture;
        }
        catch (LinuxException e)
        {
            capture?.Dispose();
            throw Refused(request.Pid, e);
        }
        catch
        {
            capture?.Dispose();
            throw;
        }
    }

    /// <summary>In the freeze, before anything is injected: the mappings as they are now. The crew begins to look at them.</summary>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    public void BeginFrozen()
    {
        try
        {
            _vmas.Refresh();
            if (Tracker == TrackerKind.Uffd) _away.Begin(_request.Pid, _vmas.Vmas, _request.Crew, KernelProbes.Current.FastScanTellsDropped ? Estimate.Solid : null);
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
        Estimate.Solid.Clear(); // a snapshot is only believed of pages that are known to be there
        // It has found all userfaultfds there to be crstore's, and nothing that writes to memory unseen.
        if (Tracker != TrackerKind.Uffd) return $"it is not tracked by uffd ({_tracking.Proof().Reason})";
        try
        {
            return _snapshot.WhyNot(captured, Estimate.PopulatedBytes);
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
            return _snapshot.TryTake(process, _vmas.Vmas);
        }
        catch (LinuxException e)
        {
            throw Refused(_request.Pid, e);
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
            _copy.Begin(reader, buffer);
            ScanAll(toCopy: true);
            _request.Watchdog?.Enter("copy");
            _copy.Continue();
            _samples.Take(_plan, _request.Options.SampleShare, _request.Round?.Pages ?? PreCopiedPages.None, reader, buffer, _space);
            reader.Flush(buffer, _space);
            if (reader.Unreadable.Count > 0 && Tracker == TrackerKind.Uffd) FindLateGuards(reader.Unreadable);
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
            _copy.Begin(reader: null, buffer: null);
            ScanAll(toCopy: false);
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
    /// <param name="windows">Where to, unless there is room for it to wait.</param>
    /// <returns>For the next round: what is known of its pages, and the link with the proof that holds it together.</returns>
    /// <exception cref="TargetException">The target is gone or refused.</exception>
    public PreCopiedRound PreCopy(CopyWindows windows)
    {
        try
        {
            return PreCopiedRound.Read(_request, _plan, _vmas, _tracking, windows);
        }
        catch (LinuxException e)
        {
            throw Refused(_request.Pid, e);
        }
    }

    /// <summary>After the thaw, before all else: reads from the snapshot what the freeze left to it, and ends it.</summary>
    /// <exception cref="SnapshotLostException">It was ended, or lacks a page: the capture has to begin anew.</exception>
    public void ReadSnapshot() => _snapshot.Read(_plan, _vmas.Vmas, _space, _reader!.Unreadable);

    /// <summary>After the thaw: the pages that will have content in the page map, in address order.</summary>
    public IReadOnlyList<PageRange> Content() => _plan.Content(_reader!.Unreadable);

    /// <summary>
    /// After the thaw: tells the store what is kept, zero and left out. The content itself comes from <see cref="PageBuffer.Drain"/>. Looks at the files that were mapped last as well: what
    /// comes behind it may keep others out of the store.
    /// </summary>
    public void Deliver()
    {
        _vmas.CompleteAfterThaw();
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
        _request.Round?.Tell(proof);
        return proof;
    }

    /// <summary>What was left out or could not be read, as far as is known by now.</summary>
    public void AddExclusions(ICollection<Exclusion> exclusions) =>
        ExclusionReport.Fill(_request.Pid, _vmas.Vmas, _plan, _reader?.Unreadable ?? [], exclusions);

    /// <inheritdoc/>
    public void Dispose()
    {
        _estimate?.Dispose();
        _snapshot.Dispose();
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

    // In solid memory the scan for what was written doesn't tell guards, madvise(MADV_GUARD_INSTALL), that were made since the look before the freeze.
    private void FindLateGuards(List<UnreadablePage> unreadable)
    {
        using var scanner = new PagemapScanScanner(_request.Pid, KernelProbes.Current.PagemapScanCategories);
        unreadable.Sort(static (a, b) => a.Page.Number.CompareTo(b.Page.Number));
        var guard = default(PageRange);
        for (var i = unreadable.Count - 1; i >= 0; i--)
        {
            var page = new PageRange(unreadable[i].Page, 1);
            _runs.Clear();
            scanner.Scan(page, fileMapping: false, _runs);
            if (_runs.Count == 0 || (_runs[0].Flags & PageCategories.Guard) == 0) continue;
            unreadable.RemoveAt(i);
            if (page.End == guard.Start) guard = PageRange.Between(page.Start, guard.End);
            else
            {
                if (!guard.IsEmpty) _plan.TurnIntoGuard(guard);
                guard = page;
            }
        }

        if (!guard.IsEmpty) _plan.TurnIntoGuard(guard);
    }

    private void CompleteWalk()
    {
        if (Tracker == TrackerKind.Uffd) _away.Complete();
        _tracking.PrepareScan(_vmas.Vmas);
    }

    private void ScanAll(bool toCopy)
    {
        _plan.Reset(_parent);
        // What a round has read, or will, must be protected to be known as unwritten.
        _hot.Begin(rests: toCopy && _request.Round is null && _tracking.IsContinuous && _request.Options.LeaveHot);
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

    // What is to be read of a piece is copied at once, while the next one is scanned; but with soft-dirty bits, which are cleared first.
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
        if (Tracker != TrackerKind.SoftDirty) _copy.Continue();
    }

    // What a plan and the parent leave to be read says how much room is needed.
    private void PrepareRoom()
    {
        _estimate = new MemoryEstimate(_request.Pid, _vmas.Vmas, _tracking, _runs);
        if (Tracker == TrackerKind.Uffd) _away.TryOut(_request.Pid, Estimate.Solid);
        _samples.Prepare(_tracking.IsContinuous ? _parent.Pages : 0, _request.Options.SampleShare);
        _plan.Reset(ParentMap.None);
    }

    // Those of a round need not be looked at anew, unless something depends on flags that may have changed.
    private static VmaPlan ReadVmas(MemoryRequest request)
    {
        if (request.Round is null && request.Vmas?.GetAwaiter().GetResult() is { } ahead) return ahead;
        var vmas = request.Round?.Vmas ?? new VmaPlan(request.Pid, request.Options.EmbedFiles, request.Options.HonourDontDump);
        if (request.Round is null || request.Options.HonourDontDump) vmas.Prepare();
        return vmas;
    }

    private static TargetException Refused(int pid, LinuxException e) => new(
        $"process {pid}: {e.Message}",
        e.ErrorNumber is Errno.EPERM or Errno.EACCES
            ? "run as root or as the process's own user with ptrace allowed (kernel.yama.ptrace_scope, CAP_SYS_PTRACE); `crstore doctor PID` tells what is missing"
            : null,
        e);
}
