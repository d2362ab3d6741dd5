using System.Diagnostics;
using System.Globalization;
using System.Text;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture.Freezing;

/// <summary>
/// Keeps the limit on frozen time. Loops ask <see cref="ThrowIfExpired"/>; and if the ptrace thread is stuck in some call,
/// a thread of the watchdog's own ends the whole process a little later: the kernel then detaches the tracees and whatever
/// was injected heals itself.
/// </summary>
public sealed class FreezeWatchdog : IDisposable
{
    /// <summary>How long after the limit the process is ended.</summary>
    public static readonly TimeSpan DefaultGrace = TimeSpan.FromSeconds(2);

    private readonly TimeSpan _limit;
    private readonly TimeSpan _grace;
    private readonly Action<string> _hardExit;
    private readonly Thread _thread;
    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim _wake = new(false, spinCount: 0); // its thread must not take a processor from the freeze
    private readonly List<(string Name, long Since)> _phases = [];
    private long _since;
    private bool _expected;
    private bool _running;
    private bool _disposed;

    /// <summary>A watchdog that isn't running yet.</summary>
    /// <param name="limit">The longest frozen time.</param>
    /// <param name="hardExit">What to do past limit and grace, with the message; null: print it and end the process with <see cref="ExitCode.FrozenTooLong"/>.</param>
    /// <param name="grace">Time between limit and hard exit; null: two seconds.</param>
    public FreezeWatchdog(TimeSpan limit, Action<string>? hardExit = null, TimeSpan? grace = null)
    {
        _limit = limit;
        _grace = grace ?? DefaultGrace;
        _hardExit = hardExit ?? (message => ThisProcess.ExitNow((int)ExitCode.FrozenTooLong, "crstore: " + message));
        _thread = new Thread(() => Niceness.Watch(Guard)) { IsBackground = true, Name = "freeze watchdog" };
        _thread.Start();
    }

    /// <summary>Phases so far in order, the current one with its time up to now.</summary>
    public IReadOnlyList<(string Name, TimeSpan Time)> Phases
    {
        get
        {
            lock (_lock) return PhasesUpTo(Stopwatch.GetTimestamp());
        }
    }

    /// <summary>A freeze is about to begin: its time is kept from here on at the latest, so that the watchdog's thread need not be woken in it.</summary>
    public void Expect()
    {
        lock (_lock)
        {
            if (_running) return;
            (_expected, _since) = (true, Stopwatch.GetTimestamp());
        }

        _wake.Set();
    }

    /// <summary>The freeze begins: called by <see cref="FrozenTree.Freeze"/> just before the first thread is stopped.</summary>
    public void Start()
    {
        bool expected;
        lock (_lock)
        {
            expected = _expected;
            _since = Stopwatch.GetTimestamp();
            _phases.Clear();
            _phases.Add(("freeze", _since));
            _running = true;
        }
        if (!expected) _wake.Set();
    }

    /// <summary>The target runs again. The limit is off, the phases stay readable.</summary>
    public void Stop()
    {
        lock (_lock)
        {
            _expected = false;
            if (!_running) return;
            _running = false;
            _phases.Add(("", Stopwatch.GetTimestamp()));
        }
    }

    /// <summary>A new phase of the freeze begins.</summary>
    public void Enter(string phase)
    {
        ThrowIfExpired();
        lock (_lock)
        {
            if (_running) _phases.Add((phase, Stopwatch.GetTimestamp()));
        }
    }

    /// <summary>Throws if the target has been frozen for longer than the limit.</summary>
    /// <exception cref="FrozenTooLongException">Names the phase that took longest, and the time of each.</exception>
    public void ThrowIfExpired()
    {
        // Read without the lock: a loop asks this per buffer, and a torn view only delays the answer by one turn.
        if (!Volatile.Read(ref _running) || Stopwatch.GetElapsedTime(_since) <= _limit) return;
        throw new FrozenTooLongException(Message(), "raise --max-frozen, or see why that phase is slow");
    }

    /// <summary>Ends the watchdog's thread.</summary>
    public void Dispose()
    {
        lock (_lock) _disposed = true;
        _wake.Set();
        _thread.Join();
        _wake.Dispose();
    }

    private void Guard()
    {
        while (true)
        {
            TimeSpan left;
            lock (_lock)
            {
                if (_disposed) return;
                _wake.Reset();
                left = _running || _expected ? _limit + _grace - Stopwatch.GetElapsedTime(_since) : Timeout.InfiniteTimeSpan;
                if (!_running && left <= TimeSpan.Zero) (_expected, left) = (false, Timeout.InfiniteTimeSpan); // it has not come: if it does, it wakes us
            }
            if (left <= TimeSpan.Zero && left != Timeout.InfiniteTimeSpan)
            {
                _hardExit(Message());
                left = Timeout.InfiniteTimeSpan; // only reached in tests, whose action returns
            }
            _wake.Wait(left);
        }
    }

    private string Message()
    {
        lock (_lock)
        {
            var phases = PhasesUpTo(Stopwatch.GetTimestamp());
            var slowest = phases.MaxBy(p => p.Time);
            var text = new StringBuilder(string.Create(CultureInfo.InvariantCulture,
                $"the target was frozen for longer than {_limit.TotalSeconds:0.###} s and was let go; slowest phase: {slowest.Name} ("));
            text.AppendJoin(", ", phases.Select(p => string.Create(CultureInfo.InvariantCulture, $"{p.Name} {p.Time.TotalMilliseconds:0.0} ms")));
            return text.Append(')').ToString();
        }
    }

    private List<(string Name, TimeSpan Time)> PhasesUpTo(long now)
    {
        var result = new List<(string, TimeSpan)>();
        for (var i = 0; i < _phases.Count; i++)
        {
            if (_phases[i].Name.Length == 0) continue;
            var end = i + 1 < _phases.Count ? _phases[i + 1].Since : now;
            result.Add((_phases[i].Name, Stopwatch.GetElapsedTime(_phases[i].Since, end)));
        }
        return result;
    }
}
