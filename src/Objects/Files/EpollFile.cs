using System.Buffers.Binary;
using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>
/// epoll(7) with all that it watches. An entry is a number and what that referred to when it was added; the number may have been closed
/// since, and the entry lives on as long as a duplicate does.
/// </summary>
public sealed class EpollFile : IFileKind
{
    // syscall_64.tbl; fcntl(2): F_DUPFD_CLOEXEC; epoll_ctl(2).
    private const long Close = 3, Fcntl = 72, EpollWait = 232, EpollCtl = 233, Dup3 = 292;
    private const int DuplicateCloseOnExec = 1030, CloseOnExec = 0x80000, Add = 1, Modify = 3;
    private const uint OneShot = 1u << 30, Conditions = 0x7ff; // EPOLLONESHOT; EPOLLIN … EPOLLMSG with EPOLLERR and EPOLLHUP
    private const uint Always = 0x18, Fireable = 0x205f;      // EPOLLERR | EPOLLHUP; what may be true of a file right now
    private const int EventSize = 12;                         // struct epoll_event is packed
    private const int LastStandardFd = 2;
    private const uint Socket = 0xc000;                       // S_IFSOCK, inode(7)

    /// <inheritdoc/>
    public string Name => "epoll";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "all targets with events and data; nested ones; one-shots that have fired; targets whose number was closed",
        "",
        "targets that no process of the checkpoint has open any more");

    /// <inheritdoc/>
    public bool Is(Fd fd) => fd.Link == "anon_inode:[eventpoll]";

    /// <inheritdoc/>
    public void Dump(FileObject file, Func<SafeFileHandle> open)
    {
        var set = file.Record.Epoll = new EpollSet();
        var holders = new List<Holder>(); // one for each process that has it
        foreach (var use in file.Uses)
            if (!holders.Exists(h => h.Use.Process.Pid == use.Process.Pid)) holders.Add(new Holder(use));
        var seen = new Dictionary<int, int>();
        foreach (var line in file.Info.Values("tfd"))
        {
            var entry = Entry.Parse(line);
            seen[entry.Fd] = seen.TryGetValue(entry.Fd, out var before) ? before + 1 : 0;
            var target = new EpollTarget { Fd = entry.Fd, Events = entry.Events, Data = entry.Data };
            foreach (var holder in holders)
            {
                if (holder.Find(entry, seen[entry.Fd]) is not { } found) continue;
                (target.OpenFile, target.Pid, target.CurrentFd) = (found.OpenFile, holder.Use.Process.Pid, found.Number);
                break;
            }

            set.Targets.Add(target);
        }
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        if (file.Record.Epoll is not { } set) return Verdict.Refused("what it watches is not known");
        if (set.Targets.FirstOrDefault(t => t.OpenFile == 0) is { } lost)
            return Verdict.Refused($"it watches what was fd {lost.Fd} when it was added, and no process that has it has that open any more");
        return Verdict.Restarts;
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var handle = EventFiles.CreateEpoll();
        Descriptors.SetFlags(handle, file.Info.Flags & Descriptors.SettableFlags);
        return handle;
    }

    /// <inheritdoc/>
    public void Finish(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
        // Those that have fired first, while nothing else in it can be ready.
        var alone = use.Process.Pid == file.Uses[0].Process.Pid;
        foreach (var target in file.Record.Epoll.Targets.Where(t => t.Pid == use.Process.Pid).OrderByDescending(HasFired)) Register(file, use, target, alone, process, scene);
    }

    // A one-shot that has fired and was not armed again.
    private static bool HasFired(EpollTarget target) => (target.Events & OneShot) != 0 && (target.Events & Conditions) == 0;

    private static void Register(FileObject file, FdUse use, EpollTarget target, bool alone, IProcessCalls process, RestartScene scene)
    {
        var what = $"epoll_ctl of {file} for fd {target.Fd}";
        var moved = target.CurrentFd != target.Fd;
        var saved = 0L;
        if (moved)
        {
            saved = process.Call(what, Fcntl, target.Fd, DuplicateCloseOnExec, 0);
            if (saved is < 0 and not -Errno.EBADF) throw new EnvironmentException($"{what}: {Errno.Describe((int)-saved)}");
            process.Queue(what, Dup3, target.CurrentFd, target.Fd, CloseOnExec);
        }

        var epoll = use.Fd.Number;
        if (alone && HasFired(target))
        {
            process.Queue(what, EpollCtl, epoll, Add, target.Fd, Event(process, target.Events | Fireable, target.Data));
            // It has fired now if anything at all is true of the file. If not, only errors can make it.
            if (process.Call(what, EpollWait, epoll, (long)process.Place(new byte[EventSize]), 1, 0) != 1)
                process.Queue(what, EpollCtl, epoll, Modify, target.Fd, Event(process, target.Events, target.Data));
        }
        else if (target.CurrentFd <= LastStandardFd || scene.MappedFds.ContainsKey(target.CurrentFd))
        {
            // Something else may be in its place, as /dev/null is.
            var result = process.Call(what, EpollCtl, epoll, Add, target.Fd, Event(process, target.Events, target.Data));
            if (result == -Errno.EPERM) scene.Warnings.Add($"{file}: fd {target.Fd} is a file now that can't be waited for");
            else if (result < 0) throw new EnvironmentException($"{what}: {Errno.Describe((int)-result)}");
        }
        else
        {
            process.Queue(what, EpollCtl, epoll, Add, target.Fd, Event(process, target.Events, target.Data));
        }

        if (!moved) return;
        if (saved >= 0)
        {
            var closeOnExec = use.Process.Fds.FirstOrDefault(f => f.Number == target.Fd) is { } now && FdInfo.Parse(now.Fdinfo.Span).CloseOnExec;
            process.Queue(what, Dup3, saved, target.Fd, closeOnExec ? CloseOnExec : 0);
        }

        process.Queue(what, Close, saved >= 0 ? saved : target.Fd);
        process.Flush();
    }

    private static long Event(IProcessCalls process, uint events, ulong data)
    {
        Span<byte> bytes = stackalloc byte[EventSize];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, events);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[4..], data);
        return (long)process.Place(bytes);
    }

    /// <summary>A process that has it, and the other fds of that process.</summary>
    private sealed class Holder(FdUse use)
    {
        private readonly Dictionary<int, Fd> _fds = use.Process.Fds.ToDictionary(f => f.Number);

        public FdUse Use => use;

        /// <summary>What an entry watches: the nth with its number.</summary>
        public Fd? Find(Entry entry, int nth)
        {
            if (_fds.TryGetValue(entry.Fd, out var same) && Fits(same) && ((same.Mode & 0xf000) == Socket || IsTarget(same))) return same;
            return _fds.Values.FirstOrDefault(f => f.Number != entry.Fd && Fits(f) && IsTarget(f));

            bool Fits(Fd fd) => fd.Inode == entry.Inode && fd.Dev == entry.Device;
            bool IsTarget(Fd fd) => EventFiles.IsTarget(use.Process.Pid, use.Fd.Number, entry.Fd, nth, fd.Number);
        }
    }

    /// <summary>“tfd: 5 events: 19 data: 5 pos:0 ino:3f3 sdev:e”, all but the first in hexadecimal.</summary>
    private sealed record Entry(int Fd, uint Events, ulong Data, ulong Inode, ulong Device)
    {
        public static Entry Parse(string line)
        {
            var words = line.Replace(":", " ", StringComparison.Ordinal).Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var device = DeviceNumber.OfKernel((uint)Value("sdev"));
            return new Entry(int.Parse(words[0], CultureInfo.InvariantCulture), (uint)Value("events"), Value("data"), Value("ino"), device.Encoded);

            ulong Value(string name) => ulong.Parse(words[Array.IndexOf(words, name) + 1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        }
    }
}
