using System.Globalization;
using Crstore.Linux.Proc;
using Crstore.Model.Format;
using Google.Protobuf;

namespace Crstore.Capture.State;

/// <summary>
/// The open files of a frozen process: where each link points to, its fdinfo (offset, flags, epoll and inotify entries…)
/// and what stat says of it. For the freeze: offsets and the set itself must belong to one instant.
/// </summary>
internal static class FdTable
{
    // An epoll's or inotify's fdinfo has a line per watched object.
    private const int FdInfoLimit = 64 * 1024 * 1024;

    internal static List<Fd> Read(ProcDirectory proc)
    {
        var table = new List<Fd>();
        foreach (var number in proc.Numbers("fd"))
        {
            var name = number.ToString(CultureInfo.InvariantCulture);
            var link = "fd/" + name;
            var fd = new Fd
            {
                Number = number,
                Link = proc.ReadLink(link),
                Fdinfo = ByteString.CopyFrom(proc.Read("fdinfo/" + name, FdInfoLimit)),
            };
            // A file on a server that is gone has no status: the link and the fdinfo still tell what it is.
            if (proc.TryStat(link, out var status) == 0)
            {
                fd.Mode = status.Mode;
                fd.Dev = status.Dev;
                fd.Inode = status.Inode;
                fd.SizeBytes = status.SizeBytes;
                fd.MtimeNs = status.MtimeNs;
                fd.Rdev = status.Rdev;
            }
            table.Add(fd);
        }
        return table;
    }
}
