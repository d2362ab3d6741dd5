using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Crstore.Capture;
using Crstore.Capture.Watching;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;

namespace Crstore.Cli.Watching;

/// <summary>
/// Captures when it is time to, until one of the reasons to end. Each capture is the one that `crstore capture` would make, with its locks and its
/// proofs; only what is the same each time is ready already (<see cref="CaptureKit"/>).
/// </summary>
internal sealed class WatchLoop(WatchPlan plan, CaptureOptions options, CheckpointStore store, string series, Hooks hooks, TargetLife life,
    WatchReport report, CancellationToken finish, CancellationToken cancel) : IDisposable
{
    private const int MostFailures = 5;       // in a row
    private const double FaultSeconds = 1e-6; // of the target, at its next write to a page that the tracker protects

    private readonly CaptureKit _kit = new();
    private readonly StoreKeeper? _keeper = KeeperFor(store, options, hooks);
    private readonly CapturePace _pace = new(plan.Every, plan.MaxShare);
    private readonly DirtTrigger? _dirt = plan.OnDirtyBytes is { } bytes ? new DirtTrigger(bytes, options.Pid, mayMiss: plan.Every is not null) : null;
    private readonly CaptureRequests? _requests = plan.OnSignal ? new CaptureRequests(life) : null;
    private readonly SeriesTrimmer? _trimmer = plan.KeepLast is { } keep ? new SeriesTrimmer(store, series, keep) : null;
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly FailureBackoff _backoff = new();
    private readonly SpareRule _spare = new();
    private bool _owed = plan.OnDirtyBytes is not null; // a capture, whatever is dirty
    private bool _asked = plan.OnSignal;                // somebody waits for one
    private TimeSpan _cost; // of the last one

    private TimeSpan Now => Stopwatch.GetElapsedTime(_start);

    private TimeSpan Earliest => _pace.Earliest > _backoff.Until ? _pace.Earliest : _backoff.Until;

    private TimeSpan? Due => _pace.Due is { } due && due < _backoff.Until ? _backoff.Until : _pace.Due;

    /// <summary>Goes on until it is over, and says how it went.</summary>
    public ExitCode Run()
    {
        using var woken = finish.Register(life.Wake);
        var why = "failed";
        try
        {
            while (true)
            {
                life.Rearm();
                if (finish.IsCancellationRequested) return End("ended on request");
                if (life.HasEnded) return End($"process {options.Pid} has ended", ExitCode.TargetEnded);
                if (report.Captures >= plan.Count) return End("all are taken");
                if (Now >= plan.For) return End("the time is over");
                var onTick = Now >= Due;
                if (onTick || (Now >= Earliest && (_owed || _asked || _requests?.IsAsked == true || _dirt?.IsTime() == true))) Capture(onTick);
                else Wait();
            }
        }
        catch (OperationCanceledException)
        {
            why = "interrupted";
            throw;
        }
        finally
        {
            report.End(why, _pace, Now);
        }

        ExitCode End(string reason, ExitCode code = ExitCode.Ok)
        {
            why = reason;
            return code;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _requests?.Dispose();
        _kit.Dispose();
    }

    private void Wait()
    {
        var longest = Until(Due);
        if (UntilLook() is { } look && look < longest) longest = look;
        if (Until(plan.For) is var end && end < longest) longest = end;
        if (longest > TimeSpan.Zero) life.Wait(longest);
    }

    // Before the pace allows a capture a look is of no use. Null: there is nothing to look for.
    private TimeSpan? UntilLook()
    {
        var allowed = Earliest - Now;
        if (_owed || _asked || _requests?.IsAsked == true) return allowed;
        return _dirt?.Pause is { } pause ? pause > allowed ? pause : allowed : null;
    }

    private TimeSpan Until(TimeSpan? moment) => moment is { } then ? then - Now : TimeSpan.FromDays(1);

    private void Capture(bool onTick)
    {
        var begun = Now;
        _asked |= _requests?.Take() == true;
        var processors = _spare.Processors(begun, _asked);
        CheckpointStore.UseProcessors(processors);
        if (_keeper is not null) _keeper.CapturesAreRare = _spare.AreRare(begun);
        CheckpointManifest manifest;
        try
        {
            manifest = Capture(options with { Processors = processors });
        }
        catch (Exception e) when (MayPass(e))
        {
            Failed(e, begun, onTick);
            return;
        }

        // From here on it is committed: whatever goes wrong is not its failure.
        _backoff.Succeeded();
        (_owed, _asked, _cost) = (false, false, CostOf(manifest.Header));
        report.Captured(manifest);
        _dirt?.Captured(manifest);
        Trim(manifest.Header);
        var over = Now;
        _pace.Took(begun, over, _cost, onTick);
        _spare.Took(begun, over);
        // Others have to wait for the end of a capture that has it open: only for a short one, that comes soon.
        if (over - begun > StoreKeeper.IdleLimit || (_dirt is null && Until(Due) > StoreKeeper.IdleLimit)) _keeper?.GiveAway();
    }

    private void Failed(Exception error, TimeSpan begun, bool onTick)
    {
        if (life.HasEnded)
        {
            // The loop says so. What its end can't have caused is told besides.
            if (error is not (TargetException or LinuxException { ErrorNumber: Errno.ESRCH or Errno.ENOENT })) report.Failed(error);
            return;
        }

        _backoff.Failed(Now);
        if (_backoff.InARow == MostFailures) ExceptionDispatchInfo.Throw(error);
        report.Failed(error);
        // It may have reset what was dirty: that much is not seen again. And who has asked has nothing yet.
        _owed |= _dirt is not null;
        // How long it was frozen is known only if that was the limit.
        _pace.Took(begun, Now, error is FrozenTooLongException ? options.MaxFrozen : _cost, onTick);
    }

    private void Trim(CheckpointHeader captured)
    {
        try
        {
            report.Forgot(_trimmer?.Trim(captured) ?? 0);
        }
        catch (Exception e) when (MayPass(e))
        {
            report.WarnOnce($"older checkpoints are not forgotten: {e.Message}");
        }
    }

    private static bool MayPass(Exception error) =>
        error is LinuxException or IOException or UnauthorizedAccessException or CrstoreException and not StoreDamagedException and not UsageException;

    // With the store open no lock is waited for: who has the series, or the target, may be waiting for the store. Nor does it give way: they would wait for longer.
    private CheckpointManifest Capture(CaptureOptions how)
    {
        if (_keeper is { IsOpen: true })
        {
            try
            {
                return CaptureOnce(how with { Nice = 0, LockWait = how.LockWait with { Timeout = TimeSpan.Zero } });
            }
            catch (StoreBusyException)
            {
                // It is given away by now.
            }
        }

        return CaptureOnce(how);
    }

    private CheckpointManifest CaptureOnce(CaptureOptions how)
    {
        CheckpointManifest? manifest = null;
        var now = how with { StartedAt = Stopwatch.GetTimestamp() };
        using var writer = store.BeginCapture(series, full: false);
        hooks.Facts["CRSTORE_CRID"] = $"{writer.Crid}";
        hooks.Around("capture", () =>
        {
            // The series and the hooks may have been waited for, and its number be another one's by now.
            if (life.HasEnded) throw new TargetException($"process {options.Pid} has ended");
            manifest = CaptureSession.Run(now, writer, _kit, null, cancel);
        });
        return manifest!;
    }

    // Hooks may call crstore, and wait for as long as they like, as --tcp wait does.
    private static StoreKeeper? KeeperFor(CheckpointStore store, CaptureOptions options, Hooks hooks) =>
        hooks.Any || options.Tcp == TcpPolicy.Wait ? null : store.Keep();

    private static TimeSpan CostOf(CheckpointHeader header)
    {
        var faults = header.Tracker == TrackerKind.Hash ? 0 : header.Pages.Dirty * FaultSeconds;
        return TimeSpan.FromTicks((long)(header.FrozenNs / 100)) + TimeSpan.FromSeconds(faults);
    }
}
