using System.Diagnostics;
using System.Text.Json;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>`crstore watch --json` in the background, read line by line.</summary>
internal sealed class WatchedTarget : IDisposable
{
    private readonly Process _process;
    private readonly LineQueue _lines = new();
    private readonly Task<string> _error;

    /// <summary>Starts one.</summary>
    public WatchedTarget(CliStore store, params string[] arguments)
    {
        _process = store.Begin(["watch", "--json", .. arguments]);
        _error = _process.StandardError.ReadToEndAsync();
        var output = _process.StandardOutput; // not the process's any more once that is disposed of
        new Thread(() =>
        {
            while (output.ReadLine() is { } line) _lines.Add(line);
            _lines.End();
        })
        { IsBackground = true }.Start();
    }

    /// <summary>Process id.</summary>
    public int Pid => _process.Id;

    /// <summary>CRIDs told so far by <see cref="Next"/>.</summary>
    public List<string> Crids { get; } = [];

    /// <summary>The next line; fails if none comes.</summary>
    public JsonElement Next()
    {
        Assert.True(_lines.TryTake(Patience.Limit, out var line) && line is not null, $"no line; {(_process.HasExited ? _error.Result : "it still runs")}");
        var told = JsonDocument.Parse(line).RootElement;
        if (Is(told, "capture")) Crids.Add(told.GetProperty("crid").GetRawText());
        return told;
    }

    /// <summary>The next capture; what fails in between is left out.</summary>
    public JsonElement NextCapture()
    {
        while (true)
        {
            var told = Next();
            if (Is(told, "end")) Assert.Fail($"it ended: {told}\n{_error.Result}");
            if (Is(told, "capture")) return told;
        }
    }

    /// <summary>The first capture that was frozen after that moment: what was told before it may not have been read yet.</summary>
    public JsonElement NextCaptureSince(DateTimeOffset moment)
    {
        while (true)
            if (NextCapture() is var told && told.GetProperty("captured_unix_ns").GetInt64() > (moment - DateTimeOffset.UnixEpoch).Ticks * 100) return told;
    }

    /// <summary>What is told within that time, if anything.</summary>
    public bool SaysNothingFor(TimeSpan time) => !_lines.TryTake(time, out _);

    /// <summary>A signal by number.</summary>
    public void Signal(int signal) => Run.Command("/bin/kill", [$"-{signal}", $"{Pid}"]).MustSucceed();

    /// <summary>SIGKILL.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>Reads on to the end; exit code, the last line, and what it said to standard error.</summary>
    public (int ExitCode, JsonElement End, string Error) Finish()
    {
        JsonElement told;
        do told = Next();
        while (!Is(told, "end"));
        Assert.True(_process.WaitForExit(Patience.Limit), "it does not end");
        return (_process.ExitCode, told, _error.Result);
    }

    /// <summary>SIGTERM, and then that.</summary>
    public (int ExitCode, JsonElement End, string Error) Stop()
    {
        Signal(15);
        return Finish();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_process.HasExited) Kill();
        _process.Dispose();
    }

    private static bool Is(JsonElement told, string what) => told.GetProperty("event").GetString() == what;
}
