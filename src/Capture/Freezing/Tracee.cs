namespace Crstore.Capture.Freezing;

/// <summary>A thread on its way into the freeze.</summary>
internal sealed class Tracee(int pid, int tid)
{
    public int Pid { get; } = pid;

    public int Tid { get; } = tid;

    /// <summary>When it was first told to stop, Stopwatch ticks.</summary>
    public long ToldAt { get; set; }

    /// <summary>How often it was let run out of the slots of a killed crstore.</summary>
    public int RunOuts { get; set; }

    /// <summary>When it is told to stop again then, Stopwatch ticks; 0 when it has been.</summary>
    public long RunsUntil { get; set; }

    /// <summary>In PTRACE_EVENT_STOP.</summary>
    public bool Stopped { get; set; }

    /// <summary>The stop is a group-stop.</summary>
    public bool GroupStopped { get; set; }

    /// <summary>Exited, killed, or a leader that waits for its threads.</summary>
    public bool Dead { get; set; }
}
