using System.Diagnostics;
using Crstore.Capture;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Restore.Restart;
using Crstore.Store;
using Crstore.Tests.Support;

namespace Crstore.Tests.Restart;

/// <summary>
/// A program that is captured, killed and restarted, with a conversation by lines that goes on across that: its stdin and stdout
/// are FIFOs, its stderr is a file. In process: <see cref="CaptureSession"/>, a store of its own, <see cref="Restarter"/>.
/// </summary>
internal sealed class RestartRun : IDisposable
{
    private static readonly Lock Freezing = new();
    private readonly TempDir _directory = new("crstore-restart-");
    private readonly CheckpointStore _store;
    private readonly FileStream _input;
    private readonly FileStream _output;
    private readonly LineQueue _lines = new();
    private readonly List<int> _restarted = [];
    private readonly List<IDisposable> _open = [];
    private TargetProcess? _target;

    private RestartRun(TargetStart start)
    {
        foreach (var name in new[] { "in", "out" }) Run.Command("mkfifo", [_directory.File(name)]).MustSucceed();
        _input = Fifo("in");
        _output = Fifo("out");
        new Thread(ReadOutput) { IsBackground = true, Name = "restarted output" }.Start();
        _store = CheckpointStore.OpenOrCreate(new StoreOptions(_directory.File("store")) { Compression = new Compression(null) }, out _);
        _target = TargetProcess.Start(start.AsDaemon(_directory.File("in"), _directory.File("out"), _directory.File("err")));
        Pid = _target.Pid;
    }

    /// <summary>The root process's id.</summary>
    public int Pid { get; }

    /// <summary>Files of this test.</summary>
    public TempDir Directory => _directory;

    /// <summary>What it wrote to stderr.</summary>
    public string Error => File.Exists(_directory.File("err")) ? File.ReadAllText(_directory.File("err")) : "";

    /// <summary>Starts a program of tests/Targets by name, or any other by path. It should say a line when it is ready.</summary>
    public static RestartRun Start(string program, params string[] arguments) => Start(new TargetStart(program, arguments));

    /// <summary>The same with all options.</summary>
    public static RestartRun Start(TargetStart start) =>
        new(start.Program.Contains('/') || !File.Exists(Repository.Path("tests", "Targets", start.Program + ".c")) ? start : start with { Program = Targets.Path(start.Program) });

    /// <summary>python3 with a script given as text; unbuffered.</summary>
    public static RestartRun Python(string script, params string[] arguments) => Start(new TargetStart(Requires.Python(), ["-u", "-c", script, .. arguments]));

    /// <summary>Writes a line to its stdin.</summary>
    public void Send(string line)
    {
        _input.Write(System.Text.Encoding.UTF8.GetBytes(line + "\n"));
        _input.Flush();
    }

    /// <summary>The next line of its stdout.</summary>
    public string ReadLine()
    {
        if (_lines.TryTake(Patience.Limit, out var line) && line is not null) return line;
        throw new InvalidOperationException($"process {Pid} said nothing for {Patience.Limit}, state {StateOf(Pid)}\n{Error}");
    }

    /// <summary>Waits until it is in that state, proc_pid_stat(5).</summary>
    public void AwaitState(char state) => Patience.Until(() => TaskStat.Read(Pid)?.State == state, () => $"process {Pid} to be in state {state}, not {StateOf(Pid)}");

    /// <summary>The next line if one comes within the time, else null.</summary>
    public string? TryReadLine(TimeSpan timeout) => _lines.TryTake(timeout, out var line) ? line : null;

    /// <summary>Reads lines until one begins so; returns what follows the prefix.</summary>
    public string Expect(string prefix)
    {
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < Patience.Limit;)
            if (ReadLine() is var line && line.StartsWith(prefix, StringComparison.Ordinal)) return line[prefix.Length..];
        throw new TimeoutException($"no line begins with “{prefix}”\n{Error}");
    }

    /// <summary>Sends a line, returns the answering line.</summary>
    public string Ask(string line)
    {
        Send(line);
        return ReadLine();
    }

    /// <summary>Takes a checkpoint; it goes on.</summary>
    public Crid Capture(bool tree = false, Func<CaptureOptions, CaptureOptions>? with = null)
    {
        var options = new CaptureOptions { Pid = Pid, Tree = tree, MaxFrozen = TimeSpan.FromMinutes(5) };
        using var writer = _store.BeginCapture("run", full: false);
        // The freeze allows no garbage collection, which a process can ask for once at a time.
        lock (Freezing) return CaptureSession.Run(with?.Invoke(options) ?? options, writer, null, CancellationToken.None).Crid;
    }

    /// <summary>Kills it and whatever it started, and waits until their ids are free.</summary>
    public void Kill()
    {
        List<int> pids = [.. Tree(Pid), .. _restarted.SelectMany(Tree)];
        ThisProcess.AdoptOrphans(true); // init may take its time to reap them
        foreach (var pid in pids) Signals.TryKill(pid, Signals.SIGKILL);
        foreach (var pid in pids) ChildWait.AwaitDeath(pid);
        ThisProcess.AdoptOrphans(false);
        _restarted.Clear();
        _target?.Dispose();
        _target = null;
        Patience.Until(() => !pids.Exists(p => System.IO.Directory.Exists($"/proc/{p}")), $"{string.Join(", ", pids)} to go away", pauseMs: 2);
        ForgetWhatItSaidLast();
    }

    /// <summary>Restarts a checkpoint of it: the same ids, the same conversation.</summary>
    /// <param name="crid">It.</param>
    /// <param name="options">How.</param>
    /// <param name="edit">Changes what was captured: for what no process can be brought to.</param>
    public RestartResult Restart(Crid crid, RestartOptions? options = null, Action<CheckpointManifest>? edit = null)
    {
        using var reader = _store.OpenReader();
        using var image = reader.OpenImage(crid);
        edit?.Invoke(image.Manifest);
        var result = Restarter.Run(image, options ?? new RestartOptions { Detach = true, Stdio = Objects.Files.StdioPolicy.Null, Files = Objects.Files.FilesPolicy.Warn },
            null, CancellationToken.None);
        _restarted.Add(result.WaitPid);
        return result;
    }

    /// <summary>The same with `--lazy`: the checkpoint stays open as long as this.</summary>
    /// <param name="crid">It.</param>
    /// <param name="through">What to read it through.</param>
    public RestartResult RestartLazily(Crid crid, Func<ICheckpointImage, ICheckpointImage> through)
    {
        var reader = _store.OpenReader();
        var image = reader.OpenImage(crid);
        _open.AddRange([image, reader]);
        var result = Restarter.Run(through(image), new RestartOptions { Lazy = true, Detach = true, Stdio = Objects.Files.StdioPolicy.Null, Files = Objects.Files.FilesPolicy.Warn },
            null, CancellationToken.None);
        _restarted.Add(result.WaitPid);
        return result;
    }

    /// <summary>Changes a byte of every page in the store that has the text; fails if there is none.</summary>
    public void DamageStore(string text)
    {
        var hits = 0;
        foreach (var path in System.IO.Directory.GetFiles(_directory.File("store/db"), "*.sst"))
        {
            var bytes = File.ReadAllBytes(path);
            for (int at = 0, found; (found = bytes.AsSpan(at).IndexOf(System.Text.Encoding.ASCII.GetBytes(text))) >= 0; at += found + 1, hits++) bytes[at + found] ^= 1;
            File.WriteAllBytes(path, bytes);
        }

        if (hits == 0) throw new InvalidOperationException($"“{text}” is nowhere in the store");
    }

    /// <summary>The manifest of one of its checkpoints.</summary>
    public CheckpointManifest Manifest(Crid crid)
    {
        using var reader = _store.OpenReader();
        using var image = reader.OpenImage(crid);
        return image.Manifest;
    }

    /// <summary>Captured, killed, restarted.</summary>
    public Crid Cycle(bool tree = false, Func<CaptureOptions, CaptureOptions>? with = null)
    {
        var crid = Capture(tree, with);
        Kill();
        Restart(crid);
        return crid;
    }

    /// <summary>Waits for the end of what was restarted: its exit code, or 128 and the signal.</summary>
    public int WaitForExit(RestartResult result)
    {
        var report = ChildWait.AwaitDeath(result.WaitPid);
        _restarted.Remove(result.WaitPid);
        return report.Killed ? 128 + report.Status : report.Status;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Kill();
        _input.Dispose();
        _output.Dispose();
        foreach (var open in _open) open.Dispose();
        _store.Dispose();
        _directory.Dispose();
    }

    // Some of it may still be on its way: up to a line of our own, behind one that its end may have cut.
    private void ForgetWhatItSaidLast()
    {
        var mark = $"{Guid.NewGuid()}";
        using (var end = Fifo("out")) end.Write(System.Text.Encoding.ASCII.GetBytes($"\n{mark}\n"));
        while (ReadLine() != mark) { }
    }

    /// <summary>A process and its descendants.</summary>
    private static List<int> Tree(int pid)
    {
        var found = new List<int> { pid };
        for (var i = 0; i < found.Count; i++) found.AddRange(TaskList.Children(found[i]).Except(found));
        return found.FindAll(p => System.IO.Directory.Exists($"/proc/{p}"));
    }

    private static string StateOf(int pid) => TaskStat.Read(pid) is { } stat ? $"{stat.State}" : "gone";

    // For reading and writing: it neither waits for the other end nor ends when that is gone.
    private FileStream Fifo(string name) => new(_directory.File(name), FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);

    private void ReadOutput()
    {
        try
        {
            using var reader = new StreamReader(_output, leaveOpen: true);
            while (reader.ReadLine() is { } line) _lines.Add(line);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The test is over.
        }

        _lines.End();
    }
}
