using Crstore.Linux.Proc;
using Crstore.Model.Format;

namespace Crstore.Objects.Processes;

/// <summary>
/// Process ids as the processes of a checkpoint see them themselves. One that is captured in a pid namespace of its own, pid_namespaces(7), as a restart
/// with --new-pids makes them, is recorded with the ids that crstore saw; it comes back with those inside.
/// </summary>
public sealed class IdsInside
{
    private readonly Dictionary<int, int> inside = [];
    private readonly bool nested;

    private IdsInside(CheckpointBody body)
    {
        var root = body.Processes.FirstOrDefault();
        nested = root?.Namespaces.FirstOrDefault(n => n.Kind == "pid") is { } own && body.Host?.Namespaces.FirstOrDefault(n => n.Kind == "pid") is { } host && own.Inode != host.Inode;
        if (!nested) return;
        foreach (var process in body.Processes)
        {
            var status = StatusLines.Parse(process.Status.Span);
            Add(process.Pid, status.NamespacePids);
            // Who leads from outside the namespace is 0 there.
            Add(process.Pgid, status.NamespaceGroups);
            Add(process.Sid, status.NamespaceSessions);
            foreach (var thread in process.Threads.Where(t => t.TidInside != 0)) inside[thread.Tid] = thread.TidInside;
        }

        void Add(int id, IReadOnlyList<int> ids)
        {
            if (ids.Count > 1) inside[id] = ids[^1];
        }
    }

    /// <summary>An id inside; 0 for that of a process outside.</summary>
    public int Of(int id) => nested ? inside.GetValueOrDefault(id) : id;

    /// <summary>A checkpoint with the ids inside, and how it got them. In the host's namespace it is the checkpoint itself.</summary>
    public static (CheckpointBody Body, IdsInside Ids) Translate(CheckpointBody body)
    {
        ArgumentNullException.ThrowIfNull(body);
        var ids = new IdsInside(body);
        if (!ids.nested) return (body, ids);
        var translated = body.Clone();
        foreach (var process in translated.Processes)
        {
            (process.Pid, process.Ppid, process.Pgid, process.Sid) = (ids.Of(process.Pid), ids.Of(process.Ppid), ids.Of(process.Pgid), ids.Of(process.Sid));
            foreach (var thread in process.Threads) thread.Tid = ids.Of(thread.Tid);
            foreach (var timer in process.PosixTimers) timer.Tid = ids.Of(timer.Tid);
        }

        foreach (var exclusion in translated.Exclusions) exclusion.Pid = ids.Of(exclusion.Pid);
        foreach (var target in translated.OpenFiles.Where(f => f.Epoll is not null).SelectMany(f => f.Epoll.Targets)) target.Pid = ids.Of(target.Pid);
        return (translated, ids);
    }
}
