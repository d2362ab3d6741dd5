using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;

namespace Crstore.Capture.Tracking;

/// <summary>
/// The tracker of one target together with the question whether its word may be believed. Chooses it, keeps the continuity
/// record, and makes the bump right before the first reset.
/// </summary>
public sealed class TargetTracking(MemoryRequest request, AwayWalk away, HotMemory hot) : IDisposable
{
    private readonly string _bootId = SystemInfo.BootId();
    private readonly List<string> _warnings = [];
    private TargetIdentity? _target;
    private ContinuityRecord? _record;
    private UffdParking? _parking;
    private ITracker _tracker = new HashTracker();
    private ContinuityVerdict _verdict;
    private string _passedOver = "";
    private byte[] _token = [];
    private bool _finished;
    private bool _pinned;

    /// <summary>The tracker in use.</summary>
    public TrackerKind Kind => _tracker.Kind;

    /// <summary>Categories that mean "written".</summary>
    public PageCategories Dirty => _tracker.Dirty;

    /// <summary>System calls in the target are needed: a userfaultfd has to be parked there.</summary>
    public bool NeedsRemote => Kind == TrackerKind.Uffd && _parking is { IsParked: false };

    /// <summary>Fallbacks a person should know of.</summary>
    public IEnumerable<string> Warnings => _warnings;

    /// <summary>Before the freeze: chooses the tracker and takes the target's record.</summary>
    /// <param name="vmas">Its mappings.</param>
    public void Prepare(IReadOnlyList<PlannedVma> vmas)
    {
        _target = TargetIdentity.Read(request.Pid);
        var asked = request.ReadEverything ? TrackerKind.Hash : request.Options.Tracker;
        if (asked is not TrackerKind.Hash) OpenRecord();
        else request.Round?.Record?.Release(); // nobody else would
        _parking = new UffdParking(_record, request.StoreId, request.Crid);
        if (asked is not TrackerKind.Hash) _parking.Prepare(request.Pid);
        var pins = MemoryPins.FindAio(vmas) is { Length: > 0 } aio ? aio : _parking.PinsMemory;
        // Without a record no reset could be told to others: then nothing may be reset.
        var kind = _record is null && !request.Rehearsal && asked is null or TrackerKind.Unspecified ? TrackerKind.Hash
            : TrackerSelection.Choose(asked, new TrackerCircumstances(request.Pid, _parking.Foreign, pins, request.Distrusted) { SharesMemory = FindSharer() }, out _passedOver);
        _tracker = kind switch
        {
            TrackerKind.Uffd => new UffdTracker(_parking, away, hot),
            TrackerKind.SoftDirty => new SoftDirtyTracker(NewWitness()),
            _ => new HashTracker(),
        };
        if (kind == TrackerKind.Hash) CloseRecord();
        _verdict = Judge(_record is null ? [] : _record.ReadToken());
        _record?.PrepareBump(request.StoreId, request.Crid, _record.ParkedFd, _record.ParkedInode);
    }

    /// <summary>In the freeze, before the first scan: the last word on continuity, then the bump, then the tracker.</summary>
    /// <param name="process">The target.</param>
    /// <param name="remote">System calls in it, if they can be made.</param>
    /// <param name="vmas">Its mappings as of the freeze.</param>
    /// <param name="pinningFd">The fd, as of the freeze, whose owner in the kernel writes past the page tables (<see cref="MemoryPins"/>); empty if there is none.</param>
    public void Begin(FrozenProcess process, IRemoteSyscalls? remote, IReadOnlyList<PlannedVma> vmas, string pinningFd)
    {
        if (!_target!.IsStillThere())
        {
            // It called execve between our look and the freeze: the same process, and a proof that can't hold.
            var now = TargetIdentity.Read(process.Pid);
            if (now.StartTimeTicks != _target.StartTimeTicks)
                throw new TargetException($"process {process.Pid} ended, and its pid went to another one, while it was being captured", "start the capture again");
            _target = now;
        }

        var token = _record is null ? [] : _record.ReadToken();
        _verdict = Judge(token);
        var pins = MemoryPins.FindAio(vmas) is { Length: > 0 } aio ? aio : pinningFd;
        if (Kind != TrackerKind.Hash && pins.Length > 0)
        {
            // Since our look before the freeze. What is written from here on goes unseen too, so no proof is left either.
            _verdict = ContinuityVerdict.No($"the kernel or a device may write to its memory unseen: {pins}");
            _pinned = true;
        }

        _record?.Bump();
        _tracker.Begin(process.Pid, process.Threads[0].Tid, remote);
        if (_record is not null) _token = _record.TokenAfterBump(token); // parking has made another one
    }

    /// <summary>Of the target; after <see cref="Prepare"/>.</summary>
    public ulong StartTimeTicks => _target!.StartTimeTicks;

    /// <summary>This boot.</summary>
    public string BootId => _bootId;

    /// <summary>Nothing speaks against believing the tracker; as far as can be seen before the freeze, final after <see cref="Begin"/>.</summary>
    public bool IsContinuous => _verdict.Continuous;

    /// <summary>Before the first scan, with nobody else busy with the memory of the process.</summary>
    public void PrepareScan(IReadOnlyList<PlannedVma> vmas) => _tracker.Prepare(vmas);

    /// <summary>Scans and resets a VMA. Clean pages may be believed where it is <see cref="IsContinuous"/> and the tracker covered them.</summary>
    public void Scan(PlannedVma vma, IScanSink sink) => _tracker.Scan(vma, sink);

    /// <summary>In the freeze, after the last scan.</summary>
    public void Finish()
    {
        _tracker.Finish();
        _finished = true;
    }

    /// <summary>The target is about to run.</summary>
    public void End()
    {
        EndRound();
        _record?.Release();
    }

    /// <summary>The same after a first round: the record stays locked for the next one.</summary>
    public void EndRound()
    {
        _tracker.End();
        if (_tracker is UffdTracker { Failure.Length: > 0 } failed) _warnings.Add($"process {request.Pid} is not tracked: {failed.Failure}");
    }

    /// <summary>Hands the record over to the next round.</summary>
    public ContinuityRecord? TakeRecord()
    {
        var record = _record;
        _record = null;
        return record;
    }

    /// <summary>For the manifest, after the thaw.</summary>
    public TrackerProof Proof()
    {
        if (_finished && _tracker is SoftDirtyTracker softDirty) softDirty.Save();
        var proof = new TrackerProof
        {
            Pid = request.Pid,
            Tracker = Kind,
            Continuous = _verdict.Continuous,
            Reason = _verdict.Reason + (_passedOver.Length > 0 ? $" ({_passedOver})" : ""),
            UffdFd = _tracker.ParkedFd,
            AtRandom = ByteString.CopyFrom(_target?.AtRandom ?? []),
        };
        if (_finished && !_pinned && _record is not null) proof.GenerationToken = ByteString.CopyFrom(_token);
        return proof;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _tracker.Dispose();
        _record?.Dispose();
    }

    private ContinuityVerdict Judge(byte[] token) => ContinuityVerdict.Decide(Kind, request.Parent, _target!, _bootId, token);

    private void OpenRecord()
    {
        if (request.Rehearsal) return;
        if (request.Round?.Record is { } locked)
        {
            if (locked.IsOf(_target!))
            {
                locked.Reload();
                _record = locked;
                return;
            }

            locked.Release(); // it has ended since, and its pid is somebody else's
        }

        try
        {
            _record = ContinuityRecord.Open(_target!, _bootId, "capture", request.LockWait);
        }
        catch (LinuxException e)
        {
            if (request.Options.Tracker is not null)
                throw new EnvironmentException($"the continuity record of process {request.Pid} can't be kept: {e.Message}", "use --tracker hash, which needs none", e);
            _passedOver = $"no continuity record can be kept: {e.Message}";
        }
    }

    private FrameWitness? NewWitness()
    {
        if (KernelProbes.Current.SoftDirtySurvivesMove) return null;
        var witness = new FrameWitness(_record);
        witness.Load();
        return witness;
    }

    private string FindSharer()
    {
        var parent = TaskStat.Read(request.Pid)?.ParentPid ?? 0;
        foreach (var other in TaskList.Children(request.Pid).Append(parent))
            if (other > 0 && ProcessComparison.ShareMemory(request.Pid, other)) return $"process {other}";
        return "";
    }

    private void CloseRecord()
    {
        _record?.Dispose();
        _record = null;
    }
}
