using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>
/// Locks on a file, as the “lock:” lines of fdinfo have them. Those of flock(2) and open file description locks belong to the open
/// file, record locks of fcntl(2) to the process that set them.
/// </summary>
internal static class FileLocks
{
    private const long Fcntl = 72, SetLock = 6; // syscall_64.tbl; F_SETLK, fcntl(2)

    /// <summary>What can't be had again; null: nothing.</summary>
    internal static string? WhyNot(FileObject file)
    {
        foreach (var use in file.Uses)
            foreach (var line in FdInfo.Parse(use.Fd.Fdinfo.Span).Values("lock"))
            {
                if (Lock.TryParse(line) is not { } held) return $"it has a lock of an unknown kind ({line})";
                if (held.Kind == "LEASE") return "it has a lease";
                if (held.Kind is not ("POSIX" or "OFDLCK" or "FLOCK")) return $"it has a {held.Kind}";
            }

        return null;
    }

    /// <summary>Takes those of the open file, in crstore: the processes inherit them.</summary>
    internal static void TakeShared(FileObject file, SafeFileHandle handle)
    {
        foreach (var held in Of(file.Info))
        {
            var errno = held.Kind switch
            {
                "FLOCK" => LockCalls.TryFlock(handle, held.Write),
                "OFDLCK" => LockCalls.TryLock(handle, LockCalls.Record(held.Write, held.Start, held.Length)),
                _ => 0,
            };
            if (errno == Errno.EAGAIN) throw Taken(file);
            if (errno != 0) throw new EnvironmentException($"{file}: a lock on it can't be had: {Errno.Describe(errno)}");
        }
    }

    /// <summary>Takes those of a process, in it.</summary>
    internal static void TakeOwn(FileObject file, FdUse use, IProcessCalls process)
    {
        foreach (var held in Of(FdInfo.Parse(use.Fd.Fdinfo.Span)))
        {
            if (held.Kind != "POSIX") continue;
            var result = process.Call($"fcntl(F_SETLK) of {file}", Fcntl, use.Fd.Number, SetLock, (long)process.Place(LockCalls.Record(held.Write, held.Start, held.Length)));
            if (result is -Errno.EAGAIN or -Errno.EACCES) throw Taken(file);
            if (result < 0) throw new EnvironmentException($"{file}: a lock on it can't be had: {Errno.Describe((int)-result)}");
        }
    }

    private static IEnumerable<Lock> Of(FdInfo info)
    {
        foreach (var line in info.Values("lock")) yield return Lock.TryParse(line)!.Value;
    }

    private static TargetException Taken(FileObject file) => new($"{file}: it was locked at the capture, and somebody else has locked it now", "fuser -v FILE tells who has it open");

    /// <summary>“1: POSIX  ADVISORY  WRITE 1484 fe:00:13740928 3 7”, proc(5) under /proc/locks; the last byte may be EOF.</summary>
    private readonly record struct Lock(string Kind, bool Write, long Start, long Length)
    {
        public static Lock? TryParse(string line)
        {
            var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length != 8 || !long.TryParse(words[6], CultureInfo.InvariantCulture, out var start)) return null;
            if (words[7] == "EOF") return new Lock(words[1], words[3] == "WRITE", start, 0);
            return long.TryParse(words[7], CultureInfo.InvariantCulture, out var end) ? new Lock(words[1], words[3] == "WRITE", start, end - start + 1) : null;
        }
    }
}
