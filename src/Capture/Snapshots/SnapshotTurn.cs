using Crstore.Capture.Freezing;
using Crstore.Model;

namespace Crstore.Capture.Snapshots;

/// <summary>
/// The snapshots of all processes in one attempt: all of them that were there before the freeze, or none. In order: <see cref="WhyNot"/> (running), <see cref="TryTake"/> (frozen),
/// <see cref="Watch"/> and <see cref="Read"/> (running again).
/// </summary>
internal sealed class SnapshotTurn : IDisposable
{
    private readonly HashSet<int> _mayBeCopied = [];
    private MemoryWatch? _watch;

    /// <summary>Why no snapshot could be made in the freeze; empty if nothing speaks against it.</summary>
    public string Refused { get; private set; } = "";

    /// <summary>Before the freeze: what speaks against snapshots; empty if nothing does.</summary>
    public string WhyNot(Dictionary<int, ProcessCapture> prepared)
    {
        foreach (var process in prepared.Values)
        {
            if (process.Memory.WhyNoSnapshot(prepared.Keys) is { Length: > 0 } why) return $"process {process.Pid}: {why}";
            _mayBeCopied.Add(process.Pid);
        }

        return "";
    }

    /// <summary>In the freeze, before anything is reset.</summary>
    /// <returns>False: there can be none.</returns>
    public bool TryTake(List<ProcessCapture> captured, FrozenTree tree, FreezeWatchdog watchdog)
    {
        for (var i = 0; i < captured.Count && Refused.Length == 0; i++)
        {
            if (!_mayBeCopied.Contains(captured[i].Pid)) continue; // born meanwhile, and small
            watchdog.Enter("snapshot");
            if (captured[i].Memory.TryTakeSnapshot(tree.Processes[i]) is { Length: > 0 } why) Refused = $"process {captured[i].Pid}: {why}";
        }

        return Refused.Length == 0;
    }

    /// <summary>After the thaw: they are the first to go where memory runs out.</summary>
    public void Watch(List<ProcessCapture> captured)
    {
        var snapshots = new List<(int, ProcessSnapshot)>();
        foreach (var capture in captured)
            if (capture.Memory.Snapshot is { } snapshot) snapshots.Add((capture.Pid, snapshot));
        if (snapshots.Count == 0) return;
        foreach (var (_, snapshot) in snapshots) snapshot.OfferToOomKiller();
        _watch = new MemoryWatch(snapshots);
    }

    /// <summary>Before anything else goes to the store: what they have, and ends them.</summary>
    /// <exception cref="SnapshotLostException">One was ended, or lacks a page: the capture has to begin anew.</exception>
    public void Read(List<ProcessCapture> captured, PhaseClock clock)
    {
        if (_watch is null) return;
        clock.Enter("snapshot");
        try
        {
            foreach (var capture in captured) capture.Memory.ReadSnapshot();
        }
        catch (SnapshotLostException e) when (_watch.Reason is { Length: > 0 } reason)
        {
            throw new SnapshotLostException($"{reason} ({e.Message})");
        }
        finally
        {
            _watch.Dispose();
            clock.Enter("store");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _watch?.Dispose();
}
