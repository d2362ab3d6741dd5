using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model.Format;

namespace Crstore.Capture.State;

/// <summary>Processes that share memory, fds or directories with their parent, by clone(2) or vfork(2): they could only be restarted apart.</summary>
internal static class SharedParts
{
    /// <summary>In the freeze, when stat has been read: fills <see cref="Process.Shares"/>.</summary>
    internal static void Find(IReadOnlyList<Process> processes)
    {
        if (processes.Count < 2) return;
        var pids = new HashSet<int>(processes.Count);
        foreach (var process in processes) pids.Add(process.Pid);
        foreach (var process in processes)
        {
            var parent = StatLine.Parse(process.Stat.Span).Ppid;
            if (pids.Contains(parent)) process.Shares = ProcessComparison.Shared(process.Pid, parent);
        }
    }
}
