namespace Crstore.Capture.Freezing;

/// <summary>A thread held in a ptrace stop.</summary>
/// <param name="Tid">Thread id.</param>
/// <param name="WasStopped">In group-stop already when it was seized; it stays so after the thaw.</param>
public sealed record FrozenThread(int Tid, bool WasStopped);

/// <summary>A process with every thread held in a ptrace stop, leader first.</summary>
public sealed record FrozenProcess(int Pid, IReadOnlyList<FrozenThread> Threads);
