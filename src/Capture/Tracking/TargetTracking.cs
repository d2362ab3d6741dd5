using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>The tracker of one target together with the question whether its word may be believed.</summary>
public sealed class TargetTracking(MemoryRequest request) : IDisposable
{
    private readonly ITracker _tracker = new HashTracker();

    /// <summary>The tracker in use.</summary>
    public TrackerKind Kind => _tracker.Kind;

    /// <summary>Categories that mean "written".</summary>
    public PageCategories Dirty => _tracker.Dirty;

    /// <summary>System calls in the target are needed.</summary>
    public bool NeedsRemote => false;

    /// <summary>Nothing seen so far speaks against believing the tracker.</summary>
    public bool MayBeContinuous => false;

    /// <summary>Fallbacks a person should know of.</summary>
    public IEnumerable<string> Warnings => [];

    /// <summary>Before the freeze.</summary>
    public void Prepare()
    {
    }

    /// <summary>In the freeze, before the first scan.</summary>
    public void Begin(FrozenProcess process, IRemoteSyscalls? remote) => _tracker.Begin(process.Pid, process.Threads[0].Tid, remote);

    /// <summary>Scans and resets a VMA; true if clean pages of it may be believed.</summary>
    public bool Scan(PlannedVma vma, List<PageRun> runs) => _tracker.Scan(vma, runs);

    /// <summary>In the freeze, after the last scan.</summary>
    public void Finish() => _tracker.Finish();

    /// <summary>The target is about to run.</summary>
    public void End() => _tracker.End();

    /// <summary>For the manifest.</summary>
    public TrackerProof Proof() => new() { Pid = request.Pid, Tracker = Kind, Continuous = false, Reason = "every page is read and compared by content" };

    /// <inheritdoc/>
    public void Dispose() => _tracker.Dispose();
}
