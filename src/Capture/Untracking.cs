using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.State;
using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Proc;
using Crstore.Model;

namespace Crstore.Capture;

/// <summary>What was taken out of a target.</summary>
/// <param name="ClosedFds">fd numbers of the userfaultfds that were closed in it; none if nothing of ours was there.</param>
/// <param name="Frozen">How long the target stood still.</param>
public sealed record UntrackResult(IReadOnlyList<int> ClosedFds, TimeSpan Frozen);

/// <summary>
/// Takes crstore's parked userfaultfd out of a target again. With its last fd closed the kernel drops all write protection,
/// and the next capture of the target reads everything. Soft-dirty leaves nothing behind that could be taken out.
/// </summary>
public static class Untracking
{
    private const string UserfaultfdLink = "anon_inode:[userfaultfd]";
    private const long SysClose = 3; // close, x86-64

    /// <summary>Does it. Only what a crstore of this boot has parked is touched, never a userfaultfd of the target's own.</summary>
    /// <param name="pid">Which.</param>
    /// <param name="wait">How to wait for a capture of it.</param>
    /// <exception cref="TargetException">Gone, refused, or system calls can't be made in it.</exception>
    /// <exception cref="StoreBusyException">A capture of the target is under way.</exception>
    public static UntrackResult Run(int pid, LockWait wait)
    {
        try
        {
            var target = TargetIdentity.Read(pid);
            using var record = Open(target, wait);
            if (Ours(pid, record).Count == 0) return new UntrackResult([], TimeSpan.Zero);
            using var thread = new PtraceThread();
            Rehearse(thread);
            return thread.Run(() => CloseFrozen(target, record));
        }
        catch (LinuxException error)
        {
            throw TargetErrors.BeforeAll(error, pid);
        }
        catch (UnauthorizedAccessException error)
        {
            throw new TargetException($"{TargetErrors.Name(pid)}: {error.Message}", "run crstore as root, or as the user that captured it", error);
        }
    }

    // What it fails at is crstore's own directory, and not the process.
    private static ContinuityRecord Open(TargetIdentity target, LockWait wait)
    {
        try
        {
            return ContinuityRecord.Open(target, SystemInfo.BootId(), "untrack", wait);
        }
        catch (LinuxException error)
        {
            throw new EnvironmentException($"the continuity record of process {target.Pid} can't be read: {error.Message}", "without it nobody knows which userfaultfd is crstore's: set that right first", error);
        }
    }

    // What is prepared at first use must not happen while the target stands still.
    private static void Rehearse(PtraceThread thread)
    {
        using var victim = Rehearsal.TryStart();
        if (victim is null) return;
        thread.Run(() =>
        {
            using var tree = FrozenTree.Freeze(victim.Pid, tree: false, new FreezeOptions());
            using var remote = RemoteSyscalls.TryBegin(tree.Processes[0], out _);
            _ = remote?.Invoke(victim.Pid, SysClose, -1);
        });
    }

    private static UntrackResult CloseFrozen(TargetIdentity target, ContinuityRecord record)
    {
        using var directory = ProcDirectory.Open(target.Pid);
        var clocks = new ProcessorClocks();
        var sleeps = new SleepWatch(target.Pid, directory, [], clocks, rehearsal: false);
        sleeps.Observe();
        clocks.Measure();
        using var tree = FrozenTree.Freeze(target.Pid, tree: false, new FreezeOptions());
        var process = tree.Processes[0];
        sleeps.ReadFrozen(process, withStat: false);
        // After an execve the fds are gone (CLOEXEC), and after a pid's reuse they are not ours: looked up again while it stands still.
        if (!target.IsStillThere()) return new UntrackResult([], tree.FrozenTime);
        var closed = new List<int>();
        using (var remote = RemoteSyscalls.TryBegin(process, out var whyNot)
            ?? throw new TargetException($"no system call can be made in {TargetErrors.Name(target.Pid)}: {whyNot}", "ending the process ends the tracking too"))
        {
            // First of all: from here on nobody may rely on what this userfaultfd said.
            record.Unpark();
            foreach (var fd in Ours(target.Pid, record))
            {
                var result = remote.Invoke(process.Leader.Tid, SysClose, fd);
                if (result != 0) throw new LinuxException("close", (int)-result, $"fd {fd} in process {target.Pid}");
                closed.Add(fd);
            }
        }
        tree.Thaw();
        return new UntrackResult(closed, tree.FrozenTime);
    }

    private static List<int> Ours(int pid, ContinuityRecord record)
    {
        var found = new List<int>();
        foreach (var path in Directory.EnumerateFileSystemEntries($"/proc/{pid}/fd"))
        {
            if (new FileInfo(path).LinkTarget != UserfaultfdLink) continue;
            if (FileStatus.TryOf(path, out var status) == 0 && record.IsOurs(status.Inode))
                found.Add(int.Parse(Path.GetFileName(path), CultureInfo.InvariantCulture));
        }
        return found;
    }
}
