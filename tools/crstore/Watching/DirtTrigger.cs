using System.Diagnostics;
using Crstore.Capture.Watching;
using Crstore.Model;

namespace Crstore.Cli.Watching;

/// <summary>`watch --on-dirty SIZE`: says when so much is dirty. Looks so often that looking takes two percent of a processor at most.</summary>
/// <param name="bytes">How much.</param>
/// <param name="pid">Of whom.</param>
/// <param name="mayMiss">It may go without if nothing tells what is dirty: there are ticks.</param>
internal sealed class DirtTrigger(long bytes, int pid, bool mayMiss)
{
    private const int PausePerLook = 50;
    private static readonly TimeSpan Shortest = TimeSpan.FromMilliseconds(5);

    private DirtyGauge? _gauge;
    private bool _told;
    private long _lookedAt = Stopwatch.GetTimestamp();
    private TimeSpan _pause = Shortest;

    /// <summary>Until the next look; null: there is nothing to look at.</summary>
    public TimeSpan? Pause => _gauge is null ? null : _pause - Stopwatch.GetElapsedTime(_lookedAt);

    /// <summary>Looks, if it is time for a look; true if so much is dirty.</summary>
    public bool IsTime()
    {
        if (_gauge is null || Pause > TimeSpan.Zero) return false;
        var began = Stopwatch.GetTimestamp();
        var dirty = _gauge.Measure(pid);
        _lookedAt = Stopwatch.GetTimestamp();
        var pause = Stopwatch.GetElapsedTime(began, _lookedAt) * PausePerLook;
        _pause = pause > Shortest ? pause : Shortest;
        return dirty >= (ulong)bytes;
    }

    /// <summary>It counts from here on.</summary>
    /// <exception cref="TargetException">Nothing tells what is dirty, and nothing else says when to capture.</exception>
    public void Captured(CheckpointManifest manifest)
    {
        _gauge = DirtyGauge.After(manifest, out var whyNot);
        _lookedAt = Stopwatch.GetTimestamp();
        if (_gauge is not null) return;
        if (!mayMiss) throw new TargetException($"--on-dirty has nothing to go by: CRID {manifest.Crid} is committed, but no tracker tells what changes ({whyNot})", "give --every as well");
        if (!_told) CommandContext.Warn($"--on-dirty has nothing to go by, only --every counts: {whyNot}");
        _told = true;
    }
}
