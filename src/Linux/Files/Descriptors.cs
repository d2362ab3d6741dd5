using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>Open file descriptions beyond reading and writing: fcntl(2), tee(2), memfd_create(2), kcmp(2). All fds are close-on-exec.</summary>
public static unsafe partial class Descriptors
{
    // fcntl(2), asm-generic/fcntl.h and linux/fcntl.h.
    private const int GetFlagsCommand = 3, SetFlagsCommand = 4, SetPipeSizeCommand = 1031, GetPipeSizeCommand = 1032,
        AddSealsCommand = 1033, GetSealsCommand = 1034;

    // syscall_64.tbl; kcmp(2): KCMP_FILE; tee(2): SPLICE_F_NONBLOCK; lseek(2): SEEK_SET.
    private const long Lseek = 8, Fchmod = 91, Tee = 276, Kcmp = 312, MemfdCreate = 319, KcmpFile = 0, SpliceNonBlock = 2;

    /// <summary>O_APPEND, O_NONBLOCK, O_DIRECT and O_NOATIME: what F_SETFL can set besides O_ASYNC.</summary>
    public const int SettableFlags = 0x400 | 0x800 | Direct | 0x40000;

    /// <summary>O_DIRECT, open(2): of a pipe, that each write is a packet, pipe(2).</summary>
    public const int Direct = 0x4000;

    /// <summary>F_GETFL.</summary>
    public static int GetFlags(SafeFileHandle file) => LinuxException.Check(Fcntl(file, GetFlagsCommand, 0), "fcntl(F_GETFL)");

    /// <summary>F_SETFL.</summary>
    public static void SetFlags(SafeFileHandle file, int flags) => LinuxException.Check(Fcntl(file, SetFlagsCommand, flags), "fcntl(F_SETFL)");

    /// <summary>What poll(2) says at once: POLLIN 1, POLLOUT 4, and unasked POLLERR 8, POLLHUP 0x10.</summary>
    public static int Poll(SafeFileHandle file, int events)
    {
        var pollfd = stackalloc int[2] { (int)file.DangerousGetHandle(), events }; // struct pollfd { int fd; short events, revents; }
        RawSyscall.Checked("poll", null, RawSyscall.Poll, (long)pollfd, 1, 0);
        return pollfd[1] >> 16;
    }

    /// <summary>Sets FD_CLOEXEC on all fds of this process but 0, 1 and 2: what it was started with ends with it.</summary>
    public static void KeepFromChildren()
    {
        const int setDescriptorFlags = 2, closeOnExec = 1; // F_SETFD, FD_CLOEXEC
        foreach (var fd in OwnNumbers())
        {
            if (fd <= 2) continue;
            using var borrowed = new SafeFileHandle(fd, ownsHandle: false);
            _ = Fcntl(borrowed, setDescriptorFlags, closeOnExec); // EBADF: the one that the directory was read by
        }
    }

    /// <summary>Puts /dev/null in the place of standard input, output and error, and of every other fd of this process that is the same file.</summary>
    public static void ForgetStandardStreams()
    {
        const long dup3 = 292, closeOnExec = 0x80000; // syscall_64.tbl; O_CLOEXEC
        var streams = new[] { 0, 1, 2 }.Select(Link).OfType<string>().ToHashSet();
        using var nothing = Memory.RawFile.Open("/dev/null", Memory.RawOpen.ReadWrite);
        foreach (var fd in OwnNumbers())
            if (Link(fd) is { } link && streams.Contains(link) && fd != (int)nothing.DangerousGetHandle())
                RawSyscall.Checked("dup3", "/dev/null", dup3, nothing.DangerousGetHandle(), fd, fd > 2 ? closeOnExec : 0);
    }

    // "pipe:[123]", or a path.
    private static string? Link(int fd) => new FileInfo(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"/proc/self/fd/{fd}")).LinkTarget;

    private static List<int> OwnNumbers() =>
        [.. Directory.GetFileSystemEntries("/proc/self/fd").Select(path => int.Parse(Path.GetFileName(path), System.Globalization.CultureInfo.InvariantCulture))];

    /// <summary>F_GETPIPE_SZ: what a pipe holds, in bytes.</summary>
    public static int GetPipeSize(SafeFileHandle pipe) => LinuxException.Check(Fcntl(pipe, GetPipeSizeCommand, 0), "fcntl(F_GETPIPE_SZ)");

    /// <summary>F_SETPIPE_SZ.</summary>
    public static void SetPipeSize(SafeFileHandle pipe, int bytes) => LinuxException.Check(Fcntl(pipe, SetPipeSizeCommand, bytes), "fcntl(F_SETPIPE_SZ)");

    /// <summary>F_GET_SEALS: F_SEAL_ bits of a memfd.</summary>
    public static uint GetSeals(SafeFileHandle memory) => (uint)LinuxException.Check(Fcntl(memory, GetSealsCommand, 0), "fcntl(F_GET_SEALS)");

    /// <summary>F_ADD_SEALS.</summary>
    public static void AddSeals(SafeFileHandle memory, uint seals) => LinuxException.Check(Fcntl(memory, AddSealsCommand, seals), "fcntl(F_ADD_SEALS)");

    /// <summary>fchmod(2).</summary>
    /// <param name="file">It.</param>
    /// <param name="mode">Permission bits alone count: what is made anew may have another owner, so never set-user-id.</param>
    public static void SetMode(SafeFileHandle file, uint mode) => RawSyscall.Checked("fchmod", null, Fchmod, file.DangerousGetHandle(), mode & 0x1ff);

    /// <summary>fchownat(2) of the file itself, of O_PATH too. Takes set-user-id bits away.</summary>
    public static void SetOwner(SafeFileHandle file, uint uid, uint gid)
    {
        const long fchownat = 260, emptyPath = 0x1000; // syscall_64.tbl; AT_EMPTY_PATH
        byte noName = 0;
        RawSyscall.Checked("fchownat", null, fchownat, file.DangerousGetHandle(), (long)&noName, uid, gid, emptyPath);
    }

    /// <summary>Gives back a part of a file's space; it reads as zeros, and the size stays: fallocate(2) with FALLOC_FL_PUNCH_HOLE.</summary>
    public static void PunchHole(SafeFileHandle file, ulong offset, ulong bytes)
    {
        const long fallocate = 285, keepSizePunchHole = 3;
        RawSyscall.Checked("fallocate(PUNCH_HOLE)", null, fallocate, file.DangerousGetHandle(), keepSizePunchHole, (long)offset, (long)bytes);
    }

    /// <summary>The same file once more, with flags and an offset of its own.</summary>
    public static SafeFileHandle OpenAgain(SafeFileHandle file, int flags) =>
        // O_NOFOLLOW, open(2): what it was opened by the first time was no link; what it is opened by now is one.
        Memory.RawFile.Open(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"/proc/self/fd/{(int)file.DangerousGetHandle()}"), (Memory.RawOpen)flags & ~Memory.RawOpen.NoFollow);

    /// <summary>lseek(2) from the start.</summary>
    public static void Seek(SafeFileHandle file, long position) => RawSyscall.Checked("lseek", null, Lseek, file.DangerousGetHandle(), position, 0);

    /// <summary>
    /// lseek(2) from the start in a directory. It is read once before that: ext4 keeps the place at which a directory is read first as its beginning, so one that
    /// was at its end would be empty after rewinddir(3) too (ext4_dx_readdir, fs/ext4/dir.c).
    /// </summary>
    public static void SeekDirectory(SafeFileHandle directory, long position)
    {
        const int anyEntry = 280; // struct linux_dirent64 with the longest name, getdents(2)
        var entry = stackalloc byte[anyEntry];
        RawSyscall.Checked("getdents64", null, RawSyscall.Getdents64, directory.DangerousGetHandle(), (long)entry, anyEntry);
        Seek(directory, position);
    }

    /// <summary>Copies what a pipe holds into another one without taking it out: tee(2). Bytes copied, 0 if there are none.</summary>
    public static int CopyPipe(SafeFileHandle from, SafeFileHandle to, int bytes)
    {
        var n = RawSyscall.Invoke(Tee, from.DangerousGetHandle(), to.DangerousGetHandle(), bytes, SpliceNonBlock);
        if (n >= 0) return (int)n;
        return Marshal.GetLastPInvokeError() == Errno.EAGAIN ? 0 : throw LinuxException.Last("tee");
    }

    /// <summary>memfd_create(2).</summary>
    /// <param name="name">As /proc shows it behind "/memfd:".</param>
    /// <param name="flags">MFD_ALLOW_SEALING 2 and others; MFD_CLOEXEC is set.</param>
    public static SafeFileHandle CreateMemory(string name, uint flags = 0)
    {
        const uint closeOnExec = 1;
        var bytes = Marshal.StringToCoTaskMemUTF8(name);
        try
        {
            return new SafeFileHandle((nint)RawSyscall.Checked("memfd_create", name, MemfdCreate, bytes, flags | closeOnExec), ownsHandle: true);
        }
        finally
        {
            Marshal.FreeCoTaskMem(bytes);
        }
    }

    /// <summary>
    /// 0 if two fds are one open file description, else -1 or 1 by the kernel's own order of such: kcmp(2). 1 as well where the kernel won't tell.
    /// </summary>
    public static int Compare(int pid, int fd, int otherPid, int otherFd) => RawSyscall.Invoke(Kcmp, pid, otherPid, KcmpFile, fd, otherFd) switch
    {
        0 => 0,
        1 => -1,
        _ => 1,
    };

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Fcntl(SafeFileHandle file, int command, long argument);
}
