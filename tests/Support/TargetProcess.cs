using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Crstore.Tests.Support;

/// <summary>How to start a target.</summary>
/// <param name="Program">Path, or name on the PATH.</param>
/// <param name="Arguments">Its arguments.</param>
public sealed record TargetStart(string Program, params string[] Arguments)
{
    /// <summary>Run as this user and group, 0 for one's own.</summary>
    public int Uid { get; init; }

    /// <summary>Added to the environment; null values are removed.</summary>
    public IReadOnlyDictionary<string, string?> Environment { get; init; } = new Dictionary<string, string?>();

    /// <summary>Working directory, or null.</summary>
    public string? Directory { get; init; }

    /// <summary>The same program as a daemon would run: a session of its own, these standard files, no other fds, in /.</summary>
    public TargetStart AsDaemon(string input, string output, string error) => this with
    {
        Program = "/usr/bin/setsid",
        Arguments = ["/bin/bash", "-c", $"cd /; exec <'{input}' >'{output}' 2>'{error}'; " +
            "for f in /proc/self/fd/*; do n=${f##*/}; [ $n -gt 2 ] && eval \"exec $n>&-\"; done 2>/dev/null; exec \"$@\"", "sh", Program, .. Arguments],
    };
}

/// <summary>
/// A process under test, with a conversation by lines over its stdin and stdout. It is a child of tests/Targets/spawner,
/// not of the .NET runtime, so that it may be ptraced (the runtime's SIGCHLD thread eats the stops of its own children).
/// It and whatever it started is killed at Dispose, and if the test process dies.
/// </summary>
public sealed class TargetProcess : IDisposable
{
    private static readonly TimeSpan DefaultTimeout = Patience.Limit;
    private readonly TempDir _directory = new("crstore-spawn-");
    private readonly Process _spawner;
    private readonly Socket _control;
    private readonly LineQueue _output = new();
    private readonly LineQueue _events = new();
    private readonly StringBuilder _error = new();
    private int? _exitCode;

    private TargetProcess(TargetStart start)
    {
        Name = Path.GetFileName(start.Program);
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(_directory.File("control")));
        listener.Listen(1);
        var info = new ProcessStartInfo(Targets.Path("spawner"),
            [_directory.File("control"), start.Uid.ToString(CultureInfo.InvariantCulture), start.Program, .. start.Arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = start.Directory ?? "",
        };
        foreach (var (name, value) in start.Environment) info.Environment[name] = value;
        _spawner = Process.Start(info)!;
        if (!listener.Poll(DefaultTimeout, SelectMode.SelectRead)) throw new InvalidOperationException("the spawner did not answer");
        _control = listener.Accept();
        Pump(_spawner.StandardOutput, _output);
        Pump(new StreamReader(new NetworkStream(_control)), _events);
        var error = _spawner.StandardError;
        _ = Task.Run(() => ReadError(error));
        Pid = int.Parse(NextEvent("pid ", DefaultTimeout)!, CultureInfo.InvariantCulture);
    }

    /// <summary>Program name, for messages.</summary>
    public string Name { get; }

    /// <summary>Process id. The program is running already: its exec is done.</summary>
    public int Pid { get; }

    /// <summary>What it wrote to stderr so far.</summary>
    public string Error
    {
        get { lock (_error) return _error.ToString(); }
    }

    /// <summary>True once it has ended (and was reaped, so its pid is free).</summary>
    public bool HasExited => TryWaitForExit(TimeSpan.Zero, out _);

    /// <summary>Starts a program of tests/Targets by name, or any other program by path.</summary>
    public static TargetProcess Start(string program, params string[] arguments) => Start(new TargetStart(program, arguments));

    /// <summary>The same with all options.</summary>
    public static TargetProcess Start(TargetStart start) =>
        new(start.Program.Contains('/') || !File.Exists(Repository.Path("tests", "Targets", start.Program + ".c"))
            ? start : start with { Program = Targets.Path(start.Program) });

    /// <summary>Starts python3 with a script given as text; it should print with flush=True.</summary>
    public static TargetProcess Python(string script, params string[] arguments) =>
        Start(new TargetStart(Requires.Python(), ["-u", "-c", script, .. arguments]));

    /// <summary>Writes a line to its stdin.</summary>
    public void Send(string line)
    {
        _spawner.StandardInput.WriteLine(line);
        _spawner.StandardInput.Flush();
    }

    /// <summary>Closes its stdin.</summary>
    public void CloseInput() => _spawner.StandardInput.Close();

    /// <summary>The next line of its stdout. Throws on end of file (with stderr and exit code) and after the timeout (default: when patience ends).</summary>
    public string ReadLine(TimeSpan? timeout = null)
    {
        var wait = timeout ?? DefaultTimeout;
        if (_output.TryTake(wait, out var line) && line is not null) return line;
        TryWaitForExit(TimeSpan.FromSeconds(_output.Ended ? 2 : 0), out var code);
        throw new InvalidOperationException($"{Name} (pid {Pid}) {(_output.Ended ? "closed its output" : $"said nothing for {wait}")}"
            + $"{(code is null ? "" : $", exit code {code}")}\n{Error}");
    }

    /// <summary>The next line of stdout if one comes within the time, else null.</summary>
    public string? TryReadLine(TimeSpan timeout) => _output.TryTake(timeout, out var line) ? line : null;

    /// <summary>Reads lines until one begins so; returns what follows the prefix.</summary>
    public string Expect(string prefix, TimeSpan? timeout = null)
    {
        for (var clock = Stopwatch.StartNew(); ;)
        {
            var left = (timeout ?? DefaultTimeout) - clock.Elapsed;
            var line = ReadLine(left > TimeSpan.Zero ? left : TimeSpan.Zero);
            if (line.StartsWith(prefix, StringComparison.Ordinal)) return line[prefix.Length..];
        }
    }

    /// <summary>Sends a line, returns the answering line.</summary>
    public string Ask(string line, TimeSpan? timeout = null)
    {
        Send(line);
        return ReadLine(timeout);
    }

    /// <summary>Sends it a signal by number.</summary>
    public void Signal(int signal) => _control.Send(Encoding.ASCII.GetBytes($"signal {signal}\n"));

    /// <summary>Exit code, 128 + signal if killed. Throws after the timeout.</summary>
    public int WaitForExit(TimeSpan? timeout = null) => TryWaitForExit(timeout ?? DefaultTimeout, out var code)
        ? code!.Value : throw new TimeoutException($"{Name} (pid {Pid}) has not ended\n{Error}");

    /// <summary>False if it has not ended in that time.</summary>
    public bool TryWaitForExit(TimeSpan timeout, out int? exitCode)
    {
        if (_exitCode is null && NextEvent("exit ", timeout) is { } text) _exitCode = int.Parse(text, CultureInfo.InvariantCulture);
        exitCode = _exitCode;
        return _exitCode is not null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // The spawner answers the end of the socket by killing and reaping all, then ends. If something is held by a tracer that
        // went away without letting go, the spawner is killed after a while and its child with it (PR_SET_PDEATHSIG).
        _control.Shutdown(SocketShutdown.Both);
        _control.Dispose();
        if (!_spawner.WaitForExit(TimeSpan.FromMinutes(1))) _spawner.Kill();
        _spawner.Dispose();
        _directory.Dispose();
    }

    private static void Pump(StreamReader source, LineQueue queue)
    {
        var thread = new Thread(() =>
        {
            try
            {
                while (source.ReadLine() is { } line) queue.Add(line);
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                // The other end is gone, or this object was disposed: the end of the conversation.
            }
            queue.End();
        })
        { IsBackground = true, Name = "target output" };
        thread.Start();
    }

    private string? NextEvent(string prefix, TimeSpan timeout)
    {
        if (_events.TryTake(timeout, out var line) && line is not null && line.StartsWith(prefix, StringComparison.Ordinal))
            return line[prefix.Length..];
        return prefix == "pid " ? throw new InvalidOperationException($"{Name} did not start: {Error}") : null;
    }

    private async Task ReadError(StreamReader source)
    {
        try
        {
            while (await source.ReadLineAsync() is { } line)
                lock (_error) _error.AppendLine(line);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // As in Pump: the end of the conversation.
        }
    }
}
