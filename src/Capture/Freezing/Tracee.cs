namespace Crstore.Capture.Freezing;

/// <summary>A thread on its way into the freeze.</summary>
internal sealed class Tracee(int pid, int tid)
{
    public int Pid { get; } = pid;

    public int Tid { get; } = tid;

    /// <summary>When it was first told to stop, Stopwatch ticks.</summary>
    public long ToldAt { get; set; }

    /// <summary>In PTRACE_EVENT_STOP.</summary>
    public bool Stopped { get; set; }

    /// <summary>The stop is a group-stop.</summary>
    public bool GroupStopped { get; set; }

    /// <summary>Exited, killed, or a leader that waits for its threads.</summary>
    public bool Dead { get; set; }
}
