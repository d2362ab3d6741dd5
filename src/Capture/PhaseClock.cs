using System.Diagnostics;
using Crstore.Model.Format;

namespace Crstore.Capture;

/// <summary>Times the phases of a capture, those within the freeze told apart. Phases do not nest; a name met again adds up.</summary>
public sealed class PhaseClock
{
    private const int Capacity = 24;
    private readonly (string Name, bool Frozen, long Ticks)[] _phases = new (string, bool, long)[Capacity];
    private int _count;
    private int _current = -1;
    private long _since;

    /// <summary>Ends the running phase and starts another one.</summary>
    public void Enter(string name, bool frozen)
    {
        var now = Stopwatch.GetTimestamp();
        Close(now);
        _current = Find(name, frozen);
        _since = now;
    }

    /// <summary>Ends the running phase.</summary>
    public void Stop() => Close(Stopwatch.GetTimestamp());

    /// <summary>The phases in the order in which they were first entered.</summary>
    public IEnumerable<Phase> Report()
    {
        for (var i = 0; i < _count; i++)
        {
            var (name, frozen, ticks) = _phases[i];
            yield return new Phase { Name = name, Frozen = frozen, DurationNs = ToNanoseconds(ticks) };
        }
    }

    /// <summary>Stopwatch ticks as nanoseconds.</summary>
    public static ulong ToNanoseconds(long ticks) => (ulong)(ticks * (1_000_000_000.0 / Stopwatch.Frequency));

    private void Close(long now)
    {
        if (_current >= 0) _phases[_current].Ticks += now - _since;
        _current = -1;
    }

    private int Find(string name, bool frozen)
    {
        for (var i = 0; i < _count; i++)
            if (ReferenceEquals(_phases[i].Name, name) || _phases[i].Name == name)
                return i;
        if (_count == Capacity) throw new InvalidOperationException("too many phases");
        _phases[_count] = (name, frozen, 0);
        return _count++;
    }
}
