using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;

namespace Crstore.Tests.Support;

/// <summary>How a command ended.</summary>
/// <param name="ExitCode">Exit code; 128 + signal if it was killed.</param>
/// <param name="Output">Its stdout.</param>
/// <param name="Error">Its stderr.</param>
/// <param name="Elapsed">Wall time.</param>
public sealed record CommandResult(int ExitCode, string Output, string Error, TimeSpan Elapsed)
{
    /// <summary>Throws with everything it said unless it exited with 0.</summary>
    public CommandResult MustSucceed() => ExitCode == 0 ? this : throw new InvalidOperationException(ToString());

    /// <summary>All of it, for a failure's message.</summary>
    public override string ToString() => $"exit code {ExitCode.ToString(CultureInfo.InvariantCulture)}\n{Output}\n{Error}";
}

/// <summary>Runs commands to their end.</summary>
public static class Run
{
    /// <summary>Runs a program with arguments; kills it and its children and throws after the timeout (default: when patience ends, and a little more for what waits as long itself).</summary>
    public static CommandResult Command(string program, IEnumerable<string> arguments, string? input = null,
        TimeSpan? timeout = null, IReadOnlyDictionary<string, string?>? environment = null, string? directory = null)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = directory ?? "",
        };
        foreach (var (name, value) in environment ?? new Dictionary<string, string?>()) start.Environment[name] = value;
        var clock = Stopwatch.StartNew();
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        try
        {
            if (input is not null) process.StandardInput.Write(input);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It has ended without reading all: its exit code and what it said tell why.
        }
        if (!process.WaitForExit(timeout ?? Patience.Limit + TimeSpan.FromMinutes(1)))
        {
            var threads = Threads(process.Id);
            process.Kill(entireProcessTree: true);
            process.WaitForExit();
            throw new TimeoutException($"{program} {string.Join(' ', start.ArgumentList)} did not end in {clock.Elapsed}\n{threads}\n{output.Result}\n{error.Result}");
        }
        return new CommandResult(process.ExitCode, output.Result, error.Result, clock.Elapsed);
    }

    // What each thread is at, and how long it has been on a processor: of a program that hangs nobody can tell afterwards.
    private static string Threads(int pid)
    {
        try
        {
            return string.Concat(Directory.GetDirectories($"/proc/{pid}/task").Select(t =>
                $"{Path.GetFileName(t)} {Field(t, "comm")} {Field(t, "stat").Split(") ")[^1][..1]} {Field(t, "wchan")} {Field(t, "syscall")} {Field(t, "schedstat")}\n"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"its threads can't be looked at: {e.Message}";
        }

        static string Field(string thread, string name) => File.ReadAllText(Path.Combine(thread, name)).Trim();
    }

    /// <summary>Runs a shell line.</summary>
    public static CommandResult Shell(string line, TimeSpan? timeout = null) => Command("/bin/sh", ["-c", line], timeout: timeout);

    /// <summary>Sends a signal by number to a process or, with a negative number, to a group.</summary>
    public static void Signal(int pid, int signal) =>
        Command("/bin/kill", [$"-{signal.ToString(CultureInfo.InvariantCulture)}", "--", pid.ToString(CultureInfo.InvariantCulture)]).MustSucceed(); // dash's own takes no --

    /// <summary>True while a process with this pid exists and is not a zombie.</summary>
    public static bool Alive(int pid)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            return stat[stat.LastIndexOf(')') + 2] is not ('Z' or 'X');
        }
        catch (Exception e) when (e is IOException or Win32Exception)
        {
            return false;   // gone: /proc/PID does not exist, or ESRCH in the middle of the read
        }
    }
}
