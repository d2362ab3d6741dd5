using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>Finds out, in the freeze, which fds are one open file, and has each kind save what belongs to it.</summary>
public static class FileDump
{
    /// <summary>Gives every fd its open file.</summary>
    /// <param name="processes">Frozen, with their fds; <see cref="Fd.OpenFile"/> is filled in.</param>
    /// <param name="contents">Keeps the content of files.</param>
    /// <param name="mayGoOn">Called for each file; throws if the freeze has taken too long.</param>
    public static List<OpenFile> Run(IReadOnlyList<Process> processes, ContentSaver contents, Action? mayGoOn = null)
    {
        ArgumentNullException.ThrowIfNull(processes);
        var files = new List<OpenFile>();
        var groups = new Dictionary<(ulong Dev, ulong Inode, string Link), List<FdUse>>();
        var uses = new Dictionary<uint, List<FdUse>>();
        foreach (var use in processes.SelectMany(p => p.Fds.Select(f => new FdUse(p, f))))
        {
            var key = (use.Fd.Dev, use.Fd.Inode, use.Fd.Link);
            if (!groups.TryGetValue(key, out var firsts)) groups.Add(key, firsts = []);
            var place = FindPlace(firsts, use, out var same);
            if (same)
            {
                use.Fd.OpenFile = firsts[place].Fd.OpenFile;
            }
            else
            {
                firsts.Insert(place, use);
                files.Add(new OpenFile { Id = use.Fd.OpenFile = (uint)files.Count + 1, Kind = FileKinds.Of(use.Fd).Name });
                uses.Add(use.Fd.OpenFile, []);
            }

            uses[use.Fd.OpenFile].Add(use);
        }

        foreach (var record in files)
        {
            mayGoOn?.Invoke();
            Dump(new FileObject(record, uses[record.Id]) { Contents = contents });
        }

        return files;
    }

    // All eventfds of a process look alike from outside, and there may be thousands: the kernel's order of files makes this a binary search.
    private static int FindPlace(List<FdUse> sorted, FdUse use, out bool same)
    {
        var (low, high) = (0, sorted.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            var other = sorted[middle];
            switch (Descriptors.Compare(other.Process.Pid, other.Fd.Number, use.Process.Pid, use.Fd.Number))
            {
                case 0:
                    same = true;
                    return middle;
                case < 0:
                    low = middle + 1;
                    break;
                default:
                    high = middle;
                    break;
            }
        }

        same = false;
        return low;
    }

    private static void Dump(FileObject file)
    {
        try
        {
            FileKinds.Of(file).Dump(file, () => Duplicate(file));
            // What no kind has looked at, and sends signals all the same; a directory without O_ASYNC (dnotify).
            if (file.Record.Signals is null && (file.Info.IsAsync || (file.IsDirectory && !file.Info.IsPathOnly))) Duplicate(file).Dispose();
        }
        catch (Exception e) when (e is LinuxException or TargetException)
        {
            // The checkpoint is good all the same; it says what it can't make anew.
            file.Record.Problem = e.Message;
        }
    }

    private static SafeFileHandle Duplicate(FileObject file)
    {
        using var process = PidFd.Open(file.Uses[0].Process.Pid);
        var duplicate = process.GetFd(file.Fd.Number);
        try
        {
            if (!file.Info.IsPathOnly) FileSignals.Dump(file, duplicate);
            return duplicate;
        }
        catch
        {
            duplicate.Dispose(); // it would keep the target's file open beyond the freeze
            throw;
        }
    }
}
