using Crstore.Objects.Files;

namespace Crstore.Restore.Restart;

/// <summary>How to restart.</summary>
public sealed record RestartOptions
{
    /// <summary>The processes don't depend on the terminal of whoever restarts them: a session of their own.</summary>
    public bool Detach { get; init; }

    /// <summary>They stay stopped, for a debugger.</summary>
    public bool Stopped { get; init; }

    /// <summary>Their working directory; null: the one that they were in.</summary>
    public string? Directory { get; init; }

    /// <summary>Terminals and pipes that lead to the outside.</summary>
    public StdioPolicy Stdio { get; init; }

    /// <summary>Files that have changed since the capture.</summary>
    public FilesPolicy Files { get; init; }

    /// <summary>TCP connections come back as reset, whatever was said at the capture.</summary>
    public bool CloseConnections { get; init; }

    /// <summary>fds that get another file.</summary>
    public IReadOnlyDictionary<int, string> MappedFds { get; init; } = new Dictionary<int, string>();
}

/// <summary>Processes that run again.</summary>
/// <param name="RootPid">The root's id.</param>
/// <param name="Pids">All their ids, the root's first.</param>
/// <param name="Bytes">Memory that was filled.</param>
/// <param name="Warnings">What the user should know.</param>
public sealed record RestartResult(int RootPid, IReadOnlyList<int> Pids, ulong Bytes, IReadOnlyList<string> Warnings);
