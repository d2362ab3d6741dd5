using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Memory;
using Crstore.Objects.Processes;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>What becomes of the files of a checkpoint that lead to the outside: terminals and pipes to other processes.</summary>
public enum StdioPolicy
{
    /// <summary>crstore's own fd of the same number takes their place.</summary>
    Inherit,

    /// <summary>/dev/null does.</summary>
    Null,

    /// <summary>They are opened again by their path.</summary>
    Files,
}

/// <summary>What to do about a file that was changed since the capture.</summary>
public enum FilesPolicy
{
    /// <summary>Refuse.</summary>
    MustMatch,

    /// <summary>Say so and go on.</summary>
    Warn,

    /// <summary>Go on.</summary>
    Ignore,
}

/// <summary>What is being restarted, how, and what its objects have in common.</summary>
public sealed class RestartScene : IDisposable
{
    /// <summary>The option that decides about <see cref="ChangedFiles"/>.</summary>
    public const string FilesFlag = "--files";

    private readonly Dictionary<string, IReadOnlyList<SafeFileHandle>> shared = [];
    private readonly Dictionary<Type, object> derived = [];
    private readonly List<IDisposable> kept = [];
    private readonly List<Action> undo = [];

    /// <summary>Of a checkpoint.</summary>
    public RestartScene(CheckpointBody body)
        : this(IdsInside.Translate(body))
    {
    }

    /// <summary>Of one that is translated already.</summary>
    public RestartScene((CheckpointBody Body, IdsInside Ids) translated)
    {
        (Body, Ids) = translated;
        var uses = new Dictionary<uint, List<FdUse>>();
        foreach (var process in Body.Processes)
        {
            foreach (var fd in process.Fds)
            {
                if (!uses.TryGetValue(fd.OpenFile, out var those)) uses.Add(fd.OpenFile, those = []);
                those.Add(new FdUse(process, fd));
            }
        }

        Files = [.. Body.OpenFiles.Where(f => uses.ContainsKey(f.Id)).Select(f => new FileObject(f, uses[f.Id]))];
    }

    /// <summary>The checkpoint, with the ids that its processes see.</summary>
    public CheckpointBody Body { get; }

    /// <summary>For ids that are in records as the kernel gave them to crstore.</summary>
    public IdsInside Ids { get; }

    /// <summary>Its open files.</summary>
    public IReadOnlyList<FileObject> Files { get; }

    /// <summary>For files that lead to the outside.</summary>
    public StdioPolicy Stdio { get; init; }

    /// <summary>For files that have changed.</summary>
    public FilesPolicy ChangedFiles { get; init; }

    /// <summary>TCP connections come back as reset, whatever was said at the capture.</summary>
    public bool CloseConnections { get; init; }

    /// <summary>Whoever restarts has a terminal and stays in its foreground: a session that is led in the checkpoint can have one, too (<see cref="OutsideTerminal"/>).</summary>
    public bool HasTerminal { get; init; } = true;

    /// <summary>The pseudo-terminal that takes the place of all that are outside, if <see cref="OutsideTerminal.Leader"/> needs one; null: crstore's own does.</summary>
    public SafeFileHandle? StandIn { get; set; }

    /// <summary>In a pid namespace of their own: the original may still run, so nothing of it may be written to.</summary>
    public bool NewPids { get; init; }

    /// <summary>The checkpoint was taken just now: what it refers to has not changed.</summary>
    public bool JustCaptured { get; init; }

    /// <summary>Instead of the working directory that they were in; null: that one.</summary>
    public string? Directory { get; init; }

    /// <summary>What the processes will inherit from crstore.</summary>
    public Confinement Own { get; init; } = Confinement.OfSelf();

    /// <summary>The files that are mapped, as far as they are still what they were.</summary>
    public FileBackings MappedFiles { get; } = new();

    /// <summary>fds that get another file: number, path.</summary>
    public IReadOnlyDictionary<int, string> MappedFds { get; init; } = new Dictionary<int, string>();

    /// <summary>It gets another file.</summary>
    public bool IsMapped(FileObject file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return MappedFds.Count > 0 && file.Uses.Any(u => MappedFds.ContainsKey(u.Fd.Number));
    }

    /// <summary>Calls in a process of the checkpoint, for <see cref="IFileKind.Complete"/>: not every object is complete with the first process that has it.</summary>
    public Func<int, IProcessCalls> CallsOf { get; set; } = pid => throw new InvalidOperationException($"process {pid} can't make calls yet");

    /// <summary>What is done to the outside when nothing else can fail any more, right before the processes are let go.</summary>
    public List<Action> AtLast { get; } = [];

    /// <summary>What the user should know.</summary>
    public List<string> Warnings { get; } = [];

    /// <summary>What several open files are parts of, as the two ends of a pipe: made by the first that asks, closed with the scene.</summary>
    public IReadOnlyList<SafeFileHandle> Share(string name, Func<IReadOnlyList<SafeFileHandle>> make)
    {
        if (!shared.TryGetValue(name, out var handles)) shared.Add(name, handles = make());
        return handles;
    }

    /// <summary>What follows from the checkpoint and the options: computed for the first that asks.</summary>
    public T Derive<T>(Func<T> compute)
        where T : class
    {
        if (!derived.TryGetValue(typeof(T), out var value)) derived.Add(typeof(T), value = compute());
        return (T)value;
    }

    /// <summary>Disposed of with the scene.</summary>
    public void Keep(IDisposable thing) => kept.Add(thing);

    /// <summary>What a restart that fails takes back: what it has left where others find it.</summary>
    public void OnFailure(Action takeBack) => undo.Add(takeBack);

    /// <summary>The restart has failed: takes back what it did, the last first.</summary>
    public void TakeBack()
    {
        foreach (var takeBack in Enumerable.Reverse(undo))
        {
            try
            {
                takeBack();
            }
            catch (Exception e) when (e is LinuxException or CrstoreException)
            {
                // Why the restart failed is what the user is told; the rest is taken back all the same.
            }
        }

        undo.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        MappedFiles.Dispose();
        foreach (var thing in kept) thing.Dispose();
        foreach (var handle in shared.Values.SelectMany(h => h)) handle.Dispose();
    }
}
