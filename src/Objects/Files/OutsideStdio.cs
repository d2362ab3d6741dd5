using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>Standard input, output and error that lead to the outside: what takes their place.</summary>
public static class OutsideStdio
{
    /// <summary>The option that decides.</summary>
    internal const string Flag = "--stdio";

    private const int LastStandardFd = 2;

    /// <summary>Allowed where one of its fds is 0, 1 or 2.</summary>
    internal static Verdict Check(FileObject file, string why) => IsStandard(file)
        ? Verdict.Policy(Flag, why)
        : Verdict.Refused(why + "; --map-fd N=PATH puts a file in its place");

    internal static SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var number = file.Uses.Select(u => u.Fd.Number).Min();
        // A duplicate, not opened anew: it may be a socket, and a file's offset goes on where crstore's is.
        return scene.Stdio == StdioPolicy.Inherit && number <= LastStandardFd
            ? new SafeFileHandle(number, ownsHandle: false)
            : RawFile.Open("/dev/null", (RawOpen)file.Access);
    }

    /// <summary>The one of crstore's standard fds that is a terminal; null: none is.</summary>
    public static SafeFileHandle? Terminal()
    {
        for (var number = 0; number <= LastStandardFd; number++)
        {
            var handle = new SafeFileHandle(number, ownsHandle: false);
            if (Terminals.TryGetTermios(handle) is not null) return handle;
        }

        return null;
    }

    /// <summary>One of the standard fds, for which crstore's own is no terminal: whoever restarts wants something else in its place.</summary>
    internal static bool IsRedirected(FileObject file) =>
        IsStandard(file) && Terminals.TryGetTermios(new SafeFileHandle(file.Uses.Min(u => u.Fd.Number), ownsHandle: false)) is null;

    internal static bool IsStandard(FileObject file) => file.Uses.Any(u => u.Fd.Number <= LastStandardFd);
}
