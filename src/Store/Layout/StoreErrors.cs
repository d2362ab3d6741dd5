using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Store.Layout;

/// <summary>What the user is told when a system call on the store's files fails.</summary>
internal static class StoreErrors
{
    /// <summary>Runs something, turning failures of calls on files into <see cref="EnvironmentException"/>.</summary>
    public static T Guard<T>(Func<T> action)
    {
        try
        {
            return action();
        }
        catch (LinuxException e)
        {
            throw Of(e);
        }
        catch (DirectoryNotFoundException e)
        {
            throw new StoreDamagedException($"store: a directory of it is missing: {e.Message}",
                "restore the store's directory from a backup: without db nothing of it can be read", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) // .NET's own calls, which name the path
        {
            throw new EnvironmentException($"store: {e.Message}", e is UnauthorizedAccessException ? Hint(Errno.EACCES) : null, e);
        }
    }

    /// <inheritdoc cref="Guard{T}"/>
    public static void Guard(Action action) => Guard(() =>
    {
        action();
        return true;
    });

    /// <summary>The message already names call, path and errno.</summary>
    public static EnvironmentException Of(LinuxException e) => new($"store: {e.Message}", Hint(e.ErrorNumber), e);

    /// <summary>What to do about a full disk.</summary>
    public const string FreeSpace = "free some space (`crstore forget`, then `crstore gc`) and try again; what is committed is whole";

    private static string? Hint(int errno) => errno switch
    {
        Errno.ENOSPC or Errno.EDQUOT => FreeSpace,
        Errno.EROFS => "the store is on a read-only file system: it can be listed and restored, not written",
        Errno.EACCES or Errno.EPERM => "use the store as the user who owns it, or another one with --store",
        Errno.EMFILE or Errno.ENFILE => "raise the limit on open files (ulimit -n)",
        Errno.ENOTDIR => "--store must name a directory",
        _ => null,
    };
}
