using Crstore.Linux;
using Crstore.Linux.Files;

namespace Crstore.Store.Native;

/// <summary>
/// Has the kernel read the program and its libraries where they are not in the page cache, as after a start of the machine: they are used from end to end, and each part
/// would be waited for when it is first called. Only a hint. What the kernel has already costs it some tenths of a millisecond.
/// </summary>
internal sealed class CodeReadAhead
{
    private readonly HashSet<string> asked = [];

    /// <summary>What the kernel was asked to read.</summary>
    public IReadOnlyCollection<string> Asked => asked;

    /// <summary>Asks for the files whose code is mapped by now (proc_pid_maps(5)), once for each.</summary>
    public void Ask()
    {
        foreach (var line in Maps().Split('\n'))
        {
            // "start-end perms offset dev inode   path"; an image that is compiled ahead is mapped like a library.
            var path = line.IndexOf('/');
            if (path < 0 || !line.Contains(" r-xp ", StringComparison.Ordinal) || line.EndsWith(" (deleted)", StringComparison.Ordinal)) continue;
            if (asked.Add(line[path..])) AskFor(line[path..]);
        }
    }

    private static string Maps()
    {
        try
        {
            return TaskFile.TryReadText("/proc/self/maps") ?? "";
        }
        catch (LinuxException e)
        {
            System.Diagnostics.Debug.WriteLine(e.Message);
            return "";
        }
    }

    private static void AskFor(string path)
    {
        try
        {
            using var file = FileCalls.Open(path, OpenFlags.ReadOnly | OpenFlags.NoFollow);
            FileCalls.ReadAhead(file, 0, 0, path); // to its end
        }
        catch (LinuxException e)
        {
            // It may be run but not read, was removed meanwhile, or nothing can be told to its file system: then each part is read when it is used.
            System.Diagnostics.Debug.WriteLine(e.Message);
        }
    }
}
