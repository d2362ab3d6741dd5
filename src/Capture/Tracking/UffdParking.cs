using System.Globalization;
using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model;

namespace Crstore.Capture.Tracking;

/// <summary>
/// The userfaultfd parked in a target: finds it again, or creates one there. It is known by its inode, which is unique to it:
/// an fd that a forked child has inherited acts on the parent's memory and must never be taken for the child's own.
/// </summary>
/// <param name="record">Remembers it; null in a rehearsal, where it is closed again.</param>
/// <param name="store">For the record.</param>
/// <param name="crid">For the record.</param>
public sealed class UffdParking(ContinuityRecord? record, Guid store, Crid crid)
{
    private const long SysFcntl = 72;           // fcntl, x86-64
    private const long DupFdCloseOnExec = 1030; // F_DUPFD_CLOEXEC, fcntl(2)
    private const string Link = "anon_inode:[userfaultfd]";
    private const int HighFd = 900;

    private int _firstFd = HighFd;

    /// <summary>fd number in the target; 0 if nothing is parked.</summary>
    public int Fd { get; private set; }

    /// <summary>True if what the record says is parked was there before the freeze.</summary>
    public bool IsParked { get; private set; }

    /// <summary>A userfaultfd in the target that no crstore put there; empty if there is none.</summary>
    public string Foreign { get; private set; } = "";

    /// <summary>Fds whose owner in the kernel writes to memory past the page tables; empty if there are none.</summary>
    public string PinsMemory { get; private set; } = "";

    /// <summary>Before the freeze: looks through the target's fds.</summary>
    /// <exception cref="LinuxException">The process is gone.</exception>
    public void Prepare(int pid)
    {
        var limit = ProcLimits.Parse(TaskFile.ReadBytes($"/proc/{pid}/limits")).FirstOrDefault(l => l.Resource == ProcLimits.OpenFiles).Soft;
        // Near the top of what the target may have: it neither gets in the way of its own numbers nor is refused.
        _firstFd = limit > HighFd + 16 ? HighFd : (int)(limit * 7 / 8);
        using var proc = ProcDirectory.Open(pid);
        foreach (var fd in proc.Numbers("fd"))
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"fd/{fd}");
            if (proc.TryReadLink(name, out var target) != 0) continue; // closed since it was listed
            if (target == Link)
            {
                var inode = proc.TryStat(name, out var status) == 0 ? status.Inode : 0;
                if (record is not null && record.ParkedFd != 0 && inode == record.ParkedInode) IsParked = IsParked || CanTake(pid, fd);
                else if (record is null || !record.IsOurs(inode)) Foreign = $"fd {fd}";
            }
            else if (MemoryPins.IsPinning(target))
            {
                PinsMemory = $"fd {fd} ({target})";
            }
        }
    }

    /// <summary>In the freeze: takes the parked one, if it still is there.</summary>
    public bool TryAdopt(int pid, out Userfaultfd? uffd)
    {
        uffd = null;
        if (record is null || record.ParkedFd == 0) return false;
        if (FileStatus.TryOf($"/proc/{pid}/fd/{record.ParkedFd}", out var status) != 0 || status.Inode != record.ParkedInode) return false;
        var taken = Take(pid, record.ParkedFd);
        if (taken.Inode != record.ParkedInode)
        {
            taken.Dispose();
            return false;
        }

        uffd = taken;
        Fd = record.ParkedFd;
        return true;
    }

    /// <summary>In the freeze: creates one in the target and leaves it there. Null, with the reason, if that can't be done.</summary>
    public Userfaultfd? TryPark(int pid, int tid, IRemoteSyscalls? remote, out string reason)
    {
        if (remote is null)
        {
            reason = "system calls can't be made in the target, so no userfaultfd could be parked there";
            return null;
        }

        var first = remote.AcquireFd(tid, Userfaultfd.SyscallNumber, Userfaultfd.CreateFlags);
        if (first < 0)
        {
            reason = $"userfaultfd in the target: {Errno.Describe(-first)}";
            return null;
        }

        // A high number: low ones are what the target expects to get next. The first is closed when the remote calls are disposed.
        var fd = remote.AcquireFd(tid, SysFcntl, first, DupFdCloseOnExec, _firstFd);
        if (fd < 0)
        {
            reason = $"fcntl(F_DUPFD_CLOEXEC, {_firstFd}) in the target: {Errno.Describe(-fd)}";
            return null;
        }

        var uffd = Take(pid, fd);
        var error = uffd.EnableAsyncWriteProtect();
        if (error != 0)
        {
            uffd.Dispose();
            reason = $"UFFDIO_API on the target's userfaultfd: {Errno.Describe(error)}";
            return null;
        }

        reason = "";
        if (record is null) return uffd; // rehearsal: not left to the target
        record.Park(store, crid, fd, uffd.Inode);
        remote.LeaveToTarget(fd);
        Fd = fd;
        return uffd;
    }

    // As in the freeze: the first time takes longer.
    private static bool CanTake(int pid, int fd)
    {
        try
        {
            Take(pid, fd).Dispose();
            return true;
        }
        catch (LinuxException)
        {
            return false; // closed since it was listed; if it can't be had at all, the freeze tells
        }
    }

    private static Userfaultfd Take(int pid, int fd)
    {
        using var pidfd = PidFd.Open(pid);
        return new Userfaultfd(pidfd.GetFd(fd));
    }
}
