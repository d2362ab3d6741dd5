using System.Text;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Objects.Files;

/// <summary>Files that only a process of the checkpoint can open, when it is there.</summary>
internal static class OpenedInProcess
{
    /// <summary>lseek(2), syscall_64.tbl.</summary>
    internal const long Lseek = 8;

    private const long OpenCall = 2, Close = 3, Fcntl = 72, Dup3 = 292; // syscall_64.tbl
    private const int CloseOnExec = 0x80000;        // O_CLOEXEC, open(2)
    private const int SetFd = 2, CloseOnExecFd = 1; // F_SETFD, FD_CLOEXEC, fcntl(2)

    /// <summary>Opens it by its path.</summary>
    /// <returns>A number that happened to be free.</returns>
    internal static long Open(FileObject file, IProcessCalls process) => Checked(file,
        process.Call($"open of {file}", OpenCall, (long)process.Place([.. Encoding.UTF8.GetBytes(file.Link), 0]), file.Info.Flags, 0));

    /// <summary>A result, if the call didn't fail.</summary>
    internal static long Checked(FileObject file, long result) =>
        result >= 0 ? result : throw new EnvironmentException($"{file}: it can't be opened: {Errno.Describe((int)-result)}");

    /// <summary>Puts what was opened to the numbers where it belongs.</summary>
    internal static void Place(FileObject file, IEnumerable<FdUse> uses, IProcessCalls process, long opened)
    {
        var stays = false;
        foreach (var (_, fd) in uses)
        {
            var closeOnExec = FdInfo.Parse(fd.Fdinfo.Span).CloseOnExec;
            stays |= fd.Number == opened;
            if (fd.Number != opened) process.Queue($"dup3 to fd {fd.Number}", Dup3, opened, fd.Number, closeOnExec ? CloseOnExec : 0);
            else process.Queue($"fcntl(F_SETFD) of fd {fd.Number}", Fcntl, opened, SetFd, closeOnExec ? CloseOnExecFd : 0);
        }

        if (!stays) process.Queue($"close of {file}", Close, opened);
        process.Flush();
    }
}
