using System.Globalization;
using Crstore.Capture.Memory;
using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model.Format;

namespace Crstore.Capture.Snapshots;

/// <summary>What speaks against a snapshot of a process: it would do harm to it, or to others, or could not be trusted. docs/FREEZING.md, "Snapshots".</summary>
public static class SnapshotGuard
{
    private const string Userfaultfd = "anon_inode:[userfaultfd]";
    // userfaultfd(2): with UFFD_FEATURE_EVENT_FORK a fork waits until its owner has read of it, who may be frozen.
    private const string OwnUserfaultfd = "it uses userfaultfd itself, whose owner a fork may have to wait for";
    private const int SpareTasks = 16;
    private const uint MaxProcesses = 6; // RLIMIT_NPROC

    /// <summary>Before the freeze: limits and surroundings. Empty if nothing does.</summary>
    /// <param name="pid">The process.</param>
    /// <param name="captured">All processes of the capture.</param>
    /// <param name="populatedBytes">Its memory.</param>
    public static string WhyNot(int pid, IReadOnlyCollection<int> captured, long populatedBytes)
    {
        if (TaskStatusFile.Read(pid) is not { } status) return "it is gone";
        if (status.Seccomp != 0) return "it has a seccomp filter";
        if (SharesMemory(pid)) return "it shares its memory with another process";
        var init = InitOf(pid, status);
        if (init == 0) return "the first process of its pid namespace, which would take the end of a copy, is not to be found";
        if (captured.Contains(init)) return $"process {init} takes the end of orphans, as which a copy would come to it";
        if (TooFewTasks(pid, status) is { Length: > 0 } tasks) return tasks;
        return MemoryRoom.WhyTooLittle(MemoryRoom.Read(pid), populatedBytes);
    }

    /// <summary>
    /// In the freeze: its mappings and files. Empty if nothing speaks against it.
    /// </summary>
    /// <param name="proc">Of a thread of it that has not exited.</param>
    /// <param name="vmas">Its mappings.</param>
    /// <param name="userfaultfds">How many it had when the tracker found all of them to be crstore's.</param>
    public static string WhyNot(ProcDirectory proc, IReadOnlyList<PlannedVma> vmas, int userfaultfds)
    {
        if (ChildrenElsewhere(proc) is { Length: > 0 } elsewhere) return elsewhere;
        for (var i = 0; i < vmas.Count; i++)
            if (WhyNot(vmas[i]) is { Length: > 0 } why) return why;
        // fork would take away what a device or the kernel still writes to: the target keeps another page after its next write.
        if (MemoryPins.FindAio(vmas) is { Length: > 0 } aio) return $"the kernel may write to its memory unseen: {aio}";
        foreach (var fd in proc.Numbers("fd"))
        {
            if (proc.TryReadLink(string.Create(CultureInfo.InvariantCulture, $"fd/{fd}"), out var link) != 0) continue;
            if (MemoryPins.IsPinning(link)) return $"the kernel or a device may write to its memory unseen: fd {fd} ({link})";
            if (link == Userfaultfd) userfaultfds--;
        }

        return userfaultfds < 0 ? OwnUserfaultfd : "";
    }

    /// <summary>
    /// After unshare(2) or setns(2) its children are born into another namespace. With CLONE_NEWPID the helper would be the init of that, with whose end nobody can be born there any more;
    /// with CLONE_NEWTIME the copy would fix the offsets of its clocks. Empty if they are born into its own.
    /// </summary>
    public static string ChildrenElsewhere(ProcDirectory proc) =>
        IsElsewhere(proc, "pid") || IsElsewhere(proc, "time") ? "its children are born into another namespace than its own, where a helper would be the first" : "";

    // The link to a pid namespace that has no init yet can't be read (ENOENT). Kernels without a kind of namespace have neither link.
    private static bool IsElsewhere(ProcDirectory proc, string kind)
    {
        var has = proc.TryReadLink($"ns/{kind}", out var own) == 0;
        return proc.TryReadLink($"ns/{kind}_for_children", out var children) == 0 ? !has || own != children : has;
    }

    /// <summary>How many userfaultfds it has.</summary>
    public static int CountUserfaultfds(ProcDirectory proc) =>
        proc.Numbers("fd").Count(fd => proc.TryReadLink(string.Create(CultureInfo.InvariantCulture, $"fd/{fd}"), out var link) == 0 && link == Userfaultfd);

    /// <summary>The copy has the pages of this mapping as they were: private anonymous memory, not left out of children.</summary>
    public static bool Has(PlannedVma vma) => vma is { Policy: ReadPolicy.Populated, Trackable: true, File: null }
        && !VmaClassifier.HasFlag(vma.VmFlags, "dc") && !VmaClassifier.HasFlag(vma.VmFlags, "wf");

    private static string WhyNot(PlannedVma vma)
    {
        if (vma.Content == VmaContent.NotCaptured && vma.Entry.Inode != 0) return "it has memory of a device mapped"; // whose driver sees a second user
        if (vma.File is { IsHugetlb: true } || VmaClassifier.HasFlag(vma.VmFlags, "ht")) return "it has huge TLB pages, which a copy could run out of";
        if (VmaClassifier.HasFlag(vma.VmFlags, "um") || VmaClassifier.HasFlag(vma.VmFlags, "ui")) return OwnUserfaultfd;
        return vma.Entry.Name.StartsWith("/SYSV", StringComparison.Ordinal) ? "it has System V shared memory, whose count of users would be wrong" : "";
    }

    private static bool SharesMemory(int pid) =>
        TaskList.Children(pid).Append(TaskStat.Read(pid)?.ParentPid ?? 0).Any(other => other > 0 && ProcessComparison.ShareMemory(pid, other));

    // NSpid: the ids from our namespace inwards. 0 if it came into its namespace from outside.
    private static int InitOf(int pid, TaskStatusFile status)
    {
        var level = Ids(status).Length;
        if (level <= 1) return 1;
        for (var at = pid; at > 0; at = TaskStat.Read(at)?.ParentPid ?? 0)
            if (TaskStatusFile.Read(at) is { } its && Ids(its) is var ids && ids.Length == level && ids[^1] == "1") return at;
        return 0;
    }

    private static string[] Ids(TaskStatusFile status) => (status["NSpid"] ?? "").Split('\t', StringSplitOptions.RemoveEmptyEntries);

    // Two processes more, one of which stays a while: the target's own forks must not fail for it.
    private static string TooFewTasks(int pid, TaskStatusFile status)
    {
        foreach (var (limit, used, name) in ControlGroup.Levels(pid, "pids", "pids.max", "pids.current"))
            if (limit - used < SpareTasks) return $"its control group {name} has no room for more processes";
        if (status.Uids[0] == 0) return "";
        var limits = ProcLimits.Parse(TaskFile.ReadBytes(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/limits")));
        var most = limits.First(l => l.Resource == MaxProcesses).Soft;
        // All tasks of the machine are enough to be sure of most.
        if (most == ResourceLimit.Unlimited || most >= AllTasks() + SpareTasks) return "";
        return most >= TasksOf(status.Uids[0]) + SpareTasks ? "" : "its user may not have more processes (RLIMIT_NPROC)";
    }

    // The fourth word of /proc/loadavg: runnable/all, proc(5).
    private static ulong AllTasks() => ulong.Parse(TaskFile.ReadText("/proc/loadavg").Split(' ')[3].Split('/')[1], CultureInfo.InvariantCulture);

    private static ulong TasksOf(uint uid)
    {
        ulong tasks = 0;
        foreach (var pid in TaskFile.ListNumbers("/proc"))
            if (TaskStatusFile.Read(pid) is { } status && status.Uids[0] == uid) tasks += ulong.Parse(status["Threads"] ?? "1", CultureInfo.InvariantCulture);
        return tasks;
    }
}
