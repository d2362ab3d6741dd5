using System.Diagnostics;
using Crstore.Linux;

namespace Crstore.Capture.Snapshots;

/// <summary>
/// Ends the snapshots of a capture before memory runs out: looks every 50 ms how much is left, and how long tasks have waited for some. A thread of its own, since the one that reads may wait for the store.
/// </summary>
public sealed class MemoryWatch : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(50);
    private const int StallWindow = 20; // looks: a second
    private const double MostStalled = 0.25;

    private readonly Func<int, MemoryRoom> _read;
    private readonly IReadOnlyList<(int Pid, ProcessSnapshot Snapshot)> _watched;
    private readonly ManualResetEventSlim _end = new();
    private readonly Queue<(long At, long StalledUs)> _stalls = new();
    private readonly Thread _thread;
    private volatile string _reason = "";

    /// <summary>Begins.</summary>
    /// <param name="watched">Processes and their snapshots.</param>
    /// <param name="read">How much room there is for a process.</param>
    public MemoryWatch(IReadOnlyList<(int Pid, ProcessSnapshot Snapshot)> watched, Func<int, MemoryRoom>? read = null)
    {
        (_watched, _read) = (watched, read ?? MemoryRoom.Read);
        _thread = new Thread(() => Niceness.Watch(Watch)) { IsBackground = true, Name = "memory" };
        _thread.Start();
    }

    /// <summary>Why the snapshots were ended; empty if they were not.</summary>
    public string Reason => _reason;

    /// <inheritdoc/>
    public void Dispose()
    {
        _end.Set();
        _thread.Join();
        _end.Dispose();
    }

    private void Watch()
    {
        do
        {
            foreach (var (pid, _) in _watched)
            {
                if (Look(pid) is not { Length: > 0 } why) continue;
                _reason = why;
                foreach (var (_, snapshot) in _watched) snapshot.Kill();
                return;
            }
        }
        while (!_end.Wait(Interval));
    }

    private string Look(int pid)
    {
        try
        {
            return Judge(_read(pid));
        }
        catch (Exception e) when (e is LinuxException or FormatException or InvalidDataException)
        {
            return $"how much memory is left can't be told: {e.Message}"; // then nothing is risked
        }
    }

    private string Judge(in MemoryRoom room)
    {
        if (room.IsShort) return $"{room.FreeBytes >> 20} MiB of memory are left";
        var now = Stopwatch.GetTimestamp();
        _stalls.Enqueue((now, room.StalledUs));
        if (_stalls.Count <= StallWindow * _watched.Count) return "";
        var (then, before) = _stalls.Dequeue();
        return room.StalledUs - before > MostStalled * Stopwatch.GetElapsedTime(then, now).TotalMicroseconds ? "tasks wait for memory" : "";
    }
}
