using System.Diagnostics;
using Crstore.Model.Format;

namespace Crstore.Model;

/// <summary>Times the phases of a capture in order, from the store's first to its last. Those within the freeze are the watchdog's and are filed here after the thaw.</summary>
public sealed class PhaseClock
{
    private readonly List<Phase> _phases = [];
    private string? _current;
    private long _since;

    /// <summary>Ends the running phase and starts another one.</summary>
    public void Enter(string name)
    {
        Stop();
        _current = name;
        _since = Stopwatch.GetTimestamp();
    }

    /// <summary>Ends the running phase.</summary>
    public void Stop()
    {
        if (_current is not null) Add(_current, Stopwatch.GetElapsedTime(_since), frozen: false);
        _current = null;
    }

    /// <summary>Files the phases of a freeze.</summary>
    /// <param name="phases">In order.</param>
    /// <param name="round">Of a round before the last freeze: in front of their names.</param>
    public void AddFrozen(IEnumerable<(string Name, TimeSpan Time)> phases, string round = "")
    {
        Stop();
        foreach (var (name, time) in phases) Add(round + name, time, frozen: true);
    }

    /// <summary>What was timed so far; a phase met twice (a second freeze) adds up.</summary>
    public IReadOnlyList<Phase> Report() => _phases;

    private void Add(string name, TimeSpan time, bool frozen)
    {
        var phase = _phases.Find(p => p.Name == name && p.Frozen == frozen);
        if (phase is null) _phases.Add(phase = new Phase { Name = name, Frozen = frozen });
        phase.DurationNs += (ulong)(time.Ticks * 100);
    }
}
