namespace Crstore.Capture.Freezing;

/// <summary>A thread held in a ptrace stop.</summary>
/// <param name="Tid">Thread id.</param>
/// <param name="WasStopped">In group-stop already when it was seized; it stays so after the thaw.</param>
public sealed record FrozenThread(int Tid, bool WasStopped)
{
    /// <summary>When it was told to stop, Stopwatch ticks: nanoseconds of CLOCK_MONOTONIC.</summary>
    public long ToldAt { get; init; }
}

/// <summary>
/// A process with every thread held in a ptrace stop, leader first. A leader that has exited while other threads go on
/// (pthread_exit in main) is not among them: it has no registers any more.
/// </summary>
public sealed record FrozenProcess(int Pid, IReadOnlyList<FrozenThread> Threads)
{
    /// <summary>The leader, or the first thread if the leader has exited.</summary>
    public FrozenThread Leader => Threads[0];

    /// <summary>In group-stop when it was seized.</summary>
    public bool WasStopped => Threads.All(t => t.WasStopped);
}
