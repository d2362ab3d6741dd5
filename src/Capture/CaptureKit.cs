using Crstore.Capture.Freezing;
using Crstore.Capture.Memory;
using Crstore.Capture.Snapshots;
using Crstore.Capture.State;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture;

/// <summary>
/// What outlives one capture of a program that takes many: the rehearsal that is behind it, what is known of files,
/// and some memory for pages that need not be faulted in again. It holds nothing of a target: each capture prepares, freezes and proves
/// continuity as the only one of a process would, so that captures by others may come in between at any time.
/// </summary>
public sealed class CaptureKit : IDisposable
{
    private const long KeptBytes = 64 << 20; // more is given back after each capture: it is faulted in while the target runs
    private static readonly TimeSpan RehearsalLimit = TimeSpan.FromSeconds(30);

    /// <summary>For many captures, one at a time.</summary>
    public CaptureKit()
        : this(KeptBytes)
    {
    }

    private CaptureKit(long keptBytes) => Buffer = new PageBuffer(budgetBytes: null) { KeptBytes = keptBytes };

    /// <summary>Empty between captures.</summary>
    internal PageBuffer Buffer { get; }

    /// <summary>Build ids, by file version.</summary>
    internal FileRefs Files { get; } = new();

    /// <summary>Under way, or behind us; null before it has begun.</summary>
    internal Task? Rehearsal { get; private set; }

    /// <summary>For a single capture.</summary>
    public static CaptureKit ForOne() => new(keptBytes: 0);

    /// <summary>
    /// Begins the rehearsal, once for all captures, on a thread of its own. It does not need the store, and of the target only asks for its size: it may begin before there is a store,
    /// whose creation waits for one sync behind the other.
    /// </summary>
    /// <param name="options">Of the capture.</param>
    public void Rehearse(CaptureOptions options) => Rehearsal ??= Task.Run(() => TakeTheWay(options, Files));

    /// <summary>Waits for the rehearsal.</summary>
    internal void AwaitRehearsal()
    {
        try
        {
            Rehearsal?.GetAwaiter().GetResult();
        }
        catch
        {
            Rehearsal = null; // the next capture tries it again
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Rehearsal is not null) Task.WaitAny(Rehearsal);
        _ = Rehearsal?.Exception; // seen: whoever gives up has an error of its own
        Buffer.Dispose();
    }

    /// <summary>
    /// Takes the whole path once with a throw-away process: what is faulted in and prepared at first use must not
    /// happen while the target stands still. A rehearsal that fails says nothing of the target, so it only costs the warm-up.
    /// </summary>
    private static void TakeTheWay(CaptureOptions options, FileRefs files)
    {
        using var victim = Freezing.Rehearsal.TryStart();
        if (victim is null) return;
        using var thread = new PtraceThread();
        using var writer = new RehearsalWriter(Guid.NewGuid());
        using var watchdog = new FreezeWatchdog(RehearsalLimit); // whatever the limit for the target is
        using var spaces = new SpaceTable(writer, watchdog, null, CancellationToken.None);
        using var buffer = new PageBuffer(16 << 20);
        var trial = options with { Pid = victim.Pid, Tree = false, KeepStopped = false };
        try
        {
            var withSnapshot = options.Snapshot != SnapshotPolicy.Never && SnapshotChoice.Pays(options.Snapshot, TargetTree.PrivateBytes(options), 0); // of the target: it may come to that
            using var attempt = new CaptureAttempt(trial, writer, spaces, files, buffer, watchdog, new PhaseClock()) { Rehearsal = true, UseSnapshots = withSnapshot };
            attempt.Prepare();
            attempt.UseSnapshots &= attempt.WhyNoSnapshots().Length == 0;
            attempt.PrepareBuffer();
            thread.Run(() => attempt.Freeze(CancellationToken.None));
            attempt.Deliver();
            attempt.Describe();
        }
        catch (Exception e) when (e is TargetException or EnvironmentException or FrozenTooLongException or SnapshotLostException or LinuxException)
        {
            // The same refusal meets the real target next, where it can be told in the target's name.
        }
    }
}
