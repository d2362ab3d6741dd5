using System.Globalization;
using Crstore.Capture.Watching;
using Crstore.Model;

namespace Crstore.Cli.Watching;

/// <summary>What a watch prints: a line for each capture, each written at once, and what it comes to at the end.</summary>
internal sealed class WatchReport(CommandContext context, bool quiet, bool json)
{
    private readonly FrozenTimes _frozen = new();
    private HashSet<string> _told = [];
    private string? _warned;
    private ulong _bytesStored;
    private long _failed;
    private long _forgotten;

    /// <summary>Captures so far.</summary>
    public long Captures => _frozen.Count;

    /// <summary>Says what begins.</summary>
    public void Begin(ProcessSketch target, string series)
    {
        if (!quiet && !json) Line(Printable.Of($"watching process {target.Pid} ({target.Comm}), series {series}"));
    }

    /// <summary>One more.</summary>
    public void Captured(CheckpointManifest manifest)
    {
        var header = manifest.Header;
        if (!quiet && Captures == 0 && RestartObstacles.Of(manifest) is { } obstacles) CommandContext.Tell(obstacles);
        _frozen.Add(TimeSpan.FromTicks((long)(header.FrozenNs / 100)));
        _bytesStored += header.BytesStored;
        // The same warning with each of ten captures a second would hide all others.
        var warnings = manifest.Body.Warnings.ToHashSet();
        foreach (var warning in warnings.Except(_told)) CommandContext.Warn(warning);
        _told = warnings;
        if (json)
        {
            JsonOutput.Line(context, writer =>
            {
                writer.WriteString("event", "capture");
                CheckpointJson.Header(writer, header, inMemory: false);
                CheckpointJson.Phases(writer, manifest.Body);
                writer.Strings("warnings", manifest.Body.Warnings);
            });
        }
        else if (quiet)
        {
            Line($"{manifest.Crid}");
        }
        else
        {
            Line($"{manifest.Crid}  {(header.ParentCrid == 0 ? "base" : $"increment of {header.ParentCrid}")}: {Units.Cost(header)}");
        }
    }

    /// <summary>One that came to nothing.</summary>
    public void Failed(Exception error)
    {
        _failed++;
        CommandContext.Tell(error.Message);
        if ((error as CrstoreException)?.Hint is { } hint) CommandContext.Hint(hint);
        if (json)
        {
            JsonOutput.Line(context, writer =>
            {
                writer.WriteString("event", "failure");
                writer.WriteString("message", error.Message);
                writer.WriteNumber("exit_code", (int)((error as CrstoreException)?.ExitCode ?? ExitCode.Environment));
            });
        }
    }

    /// <summary>A warning, but not the same again with each capture.</summary>
    public void WarnOnce(string warning)
    {
        if (warning != _warned) CommandContext.Warn(warning);
        _warned = warning;
    }

    /// <summary>Checkpoints that `--keep-last` let go.</summary>
    public void Forgot(int count) => _forgotten += count;

    /// <summary>What it comes to.</summary>
    public void End(string why, CapturePace pace, TimeSpan lasted)
    {
        if (json)
        {
            JsonOutput.Line(context, writer =>
            {
                writer.WriteString("event", "end");
                writer.WriteString("reason", why);
                writer.WriteNumber("duration_ns", lasted.Ticks * 100);
                writer.WriteNumber("captures", Captures);
                writer.WriteNumber("failed", _failed);
                writer.WriteNumber("missed", pace.Missed);
                writer.WriteNumber("put_off", pace.PutOff);
                writer.WriteNumber("forgotten", _forgotten);
                writer.WriteNumber("frozen_p50_ns", Nanoseconds(_frozen.Quantile(0.5)));
                writer.WriteNumber("frozen_p99_ns", Nanoseconds(_frozen.Quantile(0.99)));
                writer.WriteNumber("frozen_max_ns", Nanoseconds(_frozen.Longest));
                writer.WriteNumber("bytes_stored", _bytesStored);
            });
        }
        else if (!quiet)
        {
            var more = (_failed > 0 ? $", {_failed} failed" : "") + (pace.Missed > 0 ? $", {Units.Count((ulong)pace.Missed, "tick")} missed" : "")
                + (pace.PutOff > 0 ? $", {pace.PutOff} put off" : "") + (_forgotten > 0 ? $", {_forgotten} forgotten" : "");
            Line($"{why}: {Units.Count((ulong)Captures, "capture")} in {Units.Span(lasted)}{more}");
            if (Captures > 0)
                Line($"frozen p50 {Milliseconds(0.5)}, p99 {Milliseconds(0.99)}, longest {Units.Milliseconds(Nanoseconds(_frozen.Longest))} ms; stored {Units.Bytes(_bytesStored)}");
        }
    }

    private static ulong Nanoseconds(TimeSpan time) => (ulong)time.Ticks * 100;

    private string Milliseconds(double share) => string.Create(CultureInfo.InvariantCulture, $"{Units.Milliseconds(Nanoseconds(_frozen.Quantile(share)))} ms");

    private void Line(string line)
    {
        context.Out.WriteLine(line);
        context.Out.Flush();
    }
}
