using System.Diagnostics;
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
    private const int MostFailures = 5;     // in a row
    private const double FaultSeconds = 1e-6; // of the target, at its next write to a page that the tracker protects

    private readonly CaptureKit _kit = new();
    private readonly CapturePace _pace = new(plan.Every, plan.MaxShare);
    private readonly DirtTrigger? _dirt = plan.OnDirtyBytes is { } bytes ? new DirtTrigger(bytes, options.Pid, mayMiss: plan.Every is not null) : null;
    private readonly SeriesTrimmer? _trimmer = plan.KeepLast is { } keep ? new SeriesTrimmer(store, series, keep) : null;
    private readonly long _start = Stopwatch.GetTimestamp();
    private int _failures;

    private TimeSpan Now => Stopwatch.GetElapsedTime(_start);

    /// <summary>Goes on until it is over, and says how it went.</summary>
    public ExitCode Run()
    {
        using var woken = finish.Register(life.Wake);
        var why = "failed";
        try
        {
            while (true)
            {
                if (finish.IsCancellationRequested) return End("ended on request");
                if (life.HasEnded) return End($"process {options.Pid} has ended", ExitCode.TargetEnded);
                if (report.Captures >= plan.Count) return End("all are taken");
                if (Now >= plan.For) return End("the time is over");
                var onTick = Now >= _pace.Due || report.Captures + _failures == 0;
                if (onTick || (Now >= _pace.Earliest && _dirt?.IsTime() == true)) Capture(onTick);
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
    public void Dispose() => _kit.Dispose();

    private void Wait()
    {
        var longest = Until(_pace.Due);
        if (_dirt is not null && _dirt.Pause < longest) longest = _dirt.Pause;
        if (Until(plan.For) is var end && end < longest) longest = end;
        if (longest > TimeSpan.Zero) life.Wait(longest);
    }

    private TimeSpan Until(TimeSpan? moment) => moment is { } then ? then - Now : TimeSpan.FromDays(1);

    private void Capture(bool onTick)
    {
        var begun = Now;
        var cost = TimeSpan.Zero;
        try
        {
            var manifest = CaptureOnce();
            _failures = 0;
            cost = CostOf(manifest.Header);
            _dirt?.Captured(manifest);
            report.Captured(manifest);
            report.Forgot(_trimmer?.Trim(manifest.Header) ?? 0);
        }
        catch (Exception e) when (e is LinuxException or IOException or UnauthorizedAccessException or CrstoreException and not StoreDamagedException and not UsageException)
        {
            if (life.HasEnded) return; // while it was being captured: the loop says so
            if (++_failures == MostFailures) throw;
            report.Failed(e);
        }

        _pace.Took(begun, Now, cost, onTick);
    }

    private CheckpointManifest CaptureOnce()
    {
        CheckpointManifest? manifest = null;
        var now = options with { StartedAt = Stopwatch.GetTimestamp() };
        using var writer = store.BeginCapture(series, full: false);
        hooks.Facts["CRSTORE_CRID"] = $"{writer.Crid}";
        hooks.Around("capture", () => manifest = CaptureSession.Run(now, writer, _kit, null, cancel));
        return manifest!;
    }

    private static TimeSpan CostOf(CheckpointHeader header)
    {
        var faults = header.Tracker == TrackerKind.Hash ? 0 : header.Pages.Dirty * FaultSeconds;
        return TimeSpan.FromTicks((long)(header.FrozenNs / 100)) + TimeSpan.FromSeconds(faults);
    }
}
