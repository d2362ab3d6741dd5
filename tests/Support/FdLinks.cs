namespace Crstore.Tests.Support;

/// <summary>What the fds of a process lead to, while others of its threads open and close theirs.</summary>
public static class FdLinks
{
    /// <summary>The links of /proc/PID/fd; one that is closed meanwhile may be left out. None if the process is gone.</summary>
    public static List<string> Of(int pid)
    {
        var links = new List<string>();
        try
        {
            // Names alone: nothing is asked of what a name leads to before its turn.
            foreach (var fd in Directory.EnumerateFileSystemEntries($"/proc/{pid}/fd"))
                if (new FileInfo(fd).LinkTarget is { } link) links.Add(link);
        }
        catch (IOException)
        {
            // The process is gone.
        }

        return links;
    }
}
