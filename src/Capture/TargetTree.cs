using Crstore.Linux;

namespace Crstore.Capture;

/// <summary>The processes that a capture is of, while they run: only the freeze decides who is there.</summary>
internal static class TargetTree
{
    /// <summary>All processes below one, parents before their children.</summary>
    public static IEnumerable<int> Descendants(int root)
    {
        var found = new List<int> { root };
        for (var i = 0; i < found.Count; i++)
            found.AddRange(TaskList.Children(found[i]).Where(pid => !found.Contains(pid)));
        return found.Skip(1);
    }

    /// <summary>It is gone, or all of it has exited.</summary>
    public static bool HasEnded(int pid) => TaskStat.Read(pid) is not { } stat || ((stat.IsDead || stat.IsExiting) && stat.ThreadCount <= 1);

    /// <summary>Memory that the target can't share with anybody else, so that a base will have to copy it; 0 if it can't be told.</summary>
    public static long PrivateBytes(CaptureOptions options)
    {
        IEnumerable<int> pids = [options.Pid];
        if (options.Tree) pids = pids.Concat(Descendants(options.Pid));
        return pids.Sum(TaskStat.PrivateBytes);
    }
}
