using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Memory;

namespace Crstore.Capture.Snapshots;

/// <summary>
/// A copy of a target's private memory as of a freeze, shared with it page by page until the target writes (copy on write): a process that never runs, and that dies with us
/// (<see cref="Injection.SnapshotBirth"/>). As our tracee it keeps its process id until it is disposed of.
/// </summary>
public sealed class ProcessSnapshot(int pid) : IDisposable
{
    private static readonly TimeSpan DeathTimeout = TimeSpan.FromSeconds(5);
    private readonly Lock _ending = new();
    private int _gone;

    /// <summary>The copy's process id.</summary>
    public int Pid { get; } = pid;

    /// <summary>If memory runs out, the kernel shall end the copy, not the target, which looks as large: oom_score_adj, proc(5). Where that is refused the watch on memory has to do.</summary>
    public void OfferToOomKiller()
    {
        try
        {
            var path = string.Create(CultureInfo.InvariantCulture, $"/proc/{Pid}/oom_score_adj");
            using var file = RawFile.Open(path, RawOpen.WriteOnly);
            RawFile.Write(file, "1000"u8, path);
        }
        catch (LinuxException)
        {
            // EACCES: a target that is not dumpable belongs to root there.
        }
    }

    /// <summary>Ends it, from any thread; who reads it meanwhile finds it gone.</summary>
    public void Kill()
    {
        // Only while it is not reaped: its id can't be anybody else's then.
        lock (_ending)
        {
            if (_gone == 0) _ = Signals.TryKill(Pid, Signals.SIGKILL);
        }
    }

    /// <summary>Ends it and takes its end as its tracer; then its parent, init, is told.</summary>
    public void Dispose()
    {
        lock (_ending)
        {
            if (_gone != 0) return;
            _ = Signals.TryKill(Pid, Signals.SIGKILL);
            // Its last stop may still be there to be seen.
            var wait = new StopWait(StopWait.DeadlineIn(DeathTimeout));
            while (ChildWait.Poll(Pid, reap: true).Kind is WaitKind.Stopped or WaitKind.Nothing)
                if (!wait.Again()) return; // it is being killed, and our end takes it
            _gone = 1;
        }
    }
}

/// <summary>The copy is gone, or does not have a page that it must have: nothing of it counts.</summary>
public sealed class SnapshotLostException(string message) : Exception(message);
