using Crstore.Objects.Files;
using Crstore.Restore.Restart.Lazy;

namespace Crstore.Restore.Restart;

/// <summary>What CLOCK_MONOTONIC and CLOCK_BOOTTIME show to restarted processes.</summary>
public enum ClockPolicy
{
    /// <summary>The host's, or those of the time namespace that they were in; after a reboot, or on another host, as if no time had passed.</summary>
    Auto,

    /// <summary>As if no time had passed: a time namespace.</summary>
    Continue,

    /// <summary>The host's.</summary>
    Host,
}

/// <summary>How to restart.</summary>
public sealed record RestartOptions
{
    /// <summary>The processes don't depend on the terminal of whoever restarts them: a session of their own.</summary>
    public bool Detach { get; init; }

    /// <summary>In a pid namespace of their own, so that their ids need not be free.</summary>
    public bool NewPids { get; init; }

    /// <summary>They run before all of their memory is filled. Where that can't be, it is filled first, and a warning says why.</summary>
    public bool Lazy { get; init; }

    /// <summary>What CLOCK_MONOTONIC shows them.</summary>
    public ClockPolicy Clock { get; init; }

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

    /// <summary>Told of each warning before the processes go on: one that draws on the terminal is not to be written over.</summary>
    public Action<string>? Warn { get; init; }

    /// <summary>fds that get another file.</summary>
    public IReadOnlyDictionary<int, string> MappedFds { get; init; } = new Dictionary<int, string>();
}

/// <summary>Processes that run again.</summary>
/// <param name="RootPid">The root's id, as crstore's pid namespace has it.</param>
/// <param name="WaitPid">Whose end is theirs: crstore's child. The root, or the first process of their pid namespace, which ends after all of them.</param>
/// <param name="Pids">All their ids, the root's first.</param>
/// <param name="Bytes">Memory that was filled.</param>
/// <param name="Phases">What took how long, in order.</param>
/// <param name="Warnings">What the user should know.</param>
public sealed record RestartResult(
    int RootPid, int WaitPid, IReadOnlyList<int> Pids, ulong Bytes, IReadOnlyList<(string Name, TimeSpan Duration)> Phases, IReadOnlyList<string> Warnings)
{
    /// <summary>What is still being filled; null: nothing. The caller waits for it, and keeps the image open until then.</summary>
    public LazyFill? Lazy { get; init; }

    /// <summary>The caller's terminal, lent to them; null: it was not.</summary>
    public TerminalHandover? Terminal { get; init; }

    /// <summary>The caller's terminal, to be copied to and from one of theirs; null: it is not.</summary>
    public TerminalRelay? Relay { get; init; }
}
