using System.Globalization;

namespace Crstore.Linux;

/// <summary>Threads and children of a process, proc(5).</summary>
public static class TaskList
{
    /// <summary>Thread ids of a process, leader first; empty if it is gone.</summary>
    public static List<int> Threads(int pid)
    {
        try
        {
            return TaskFile.ListNumbers($"/proc/{pid}/task");
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.ENOENT or Errno.ESRCH)
        {
            return [];
        }
    }

    /// <summary>
    /// Children of all threads of a process, zombies included. Exact only while the process is frozen, as
    /// /proc/PID/task/TID/children promises no more.
    /// </summary>
    public static List<int> Children(int pid)
    {
        var children = new List<int>();
        foreach (var tid in Threads(pid))
        {
            var text = TaskFile.TryReadText($"/proc/{pid}/task/{tid}/children");
            if (text is null)
            {
                // Either the thread is gone, or the kernel was built without CONFIG_PROC_CHILDREN.
                if (!File.Exists("/proc/self/task/" + Environment.ProcessId + "/children")) return ChildrenByParentPid(pid);
                continue;
            }
            foreach (var word in text.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
                children.Add(int.Parse(word, CultureInfo.InvariantCulture));
        }
        return children;
    }

    private static List<int> ChildrenByParentPid(int pid) =>
        TaskFile.ListNumbers("/proc").Where(p => TaskStat.Read(p)?.ParentPid == pid).ToList();
}
