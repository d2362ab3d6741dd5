namespace Crstore.Tests.Support;

/// <summary>Lines from a pump thread to a reader that waits with a timeout.</summary>
public sealed class LineQueue
{
    private readonly Queue<string> _lines = new();

    /// <summary>No line will come any more, and all were taken.</summary>
    public bool Ended
    {
        get { lock (_lines) return field && _lines.Count == 0; }
        private set;
    }

    /// <summary>Adds a line.</summary>
    public void Add(string line)
    {
        lock (_lines)
        {
            _lines.Enqueue(line);
            Monitor.PulseAll(_lines);
        }
    }

    /// <summary>The source is at its end.</summary>
    public void End()
    {
        lock (_lines)
        {
            Ended = true;
            Monitor.PulseAll(_lines);
        }
    }

    /// <summary>Takes the next line; false if none came in time or the end was reached.</summary>
    public bool TryTake(TimeSpan timeout, out string? line)
    {
        var deadline = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
        lock (_lines)
        {
            while (!_lines.TryDequeue(out line))
            {
                var left = deadline - Environment.TickCount64;
                if (Ended || left <= 0) return false;
                Monitor.Wait(_lines, (int)Math.Min(left, int.MaxValue));
            }
            return true;
        }
    }
}
