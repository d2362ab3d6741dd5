using System.Globalization;
using Crstore.Capture.Memory;
using Crstore.Linux.Proc;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>
/// What lets the kernel or a device write to a process's memory past its page tables: a page that was pinned for it changes
/// without soft-dirty bit and without write protection fault.
/// </summary>
public static class MemoryPins
{
    // NVIDIA, AMD compute, DRM (userptr buffers), VFIO and RDMA: they all pin user memory for DMA.
    private static readonly string[] Devices = ["/dev/vfio/", "/dev/infiniband/", "/dev/nvidia", "/dev/kfd", "/dev/dri/"];

    /// <summary>True if an fd with this link may do so.</summary>
    public static bool IsPinning(string link) =>
        link is "anon_inode:[io_uring]" or "anon_inode:kvm-vm" || Array.Exists(Devices, d => link.StartsWith(d, StringComparison.Ordinal));

    /// <summary>An AIO context, io_setup(2): the kernel maps its ring by this name. Empty if there is none.</summary>
    public static string FindAio(IReadOnlyList<PlannedVma> vmas)
    {
        for (var i = 0; i < vmas.Count; i++)
            if (vmas[i].Entry.Name.StartsWith("/[aio]", StringComparison.Ordinal))
                return "asynchronous I/O (io_setup)";
        return "";
    }

    /// <summary>Among fds that were read in the freeze. Empty if there is none.</summary>
    public static string FindFd(IEnumerable<Fd> fds)
    {
        foreach (var fd in fds)
            if (IsPinning(fd.Link))
                return $"fd {fd.Number} ({fd.Link})";
        return "";
    }

    /// <summary>In the freeze: one readlink per fd. Empty if there is none.</summary>
    /// <exception cref="Linux.LinuxException">The process is gone.</exception>
    public static string FindFd(ProcDirectory proc)
    {
        foreach (var fd in proc.Numbers("fd"))
            if (proc.TryReadLink(string.Create(CultureInfo.InvariantCulture, $"fd/{fd}"), out var link) == 0 && IsPinning(link))
                return $"fd {fd} ({link})";
        return "";
    }
}
