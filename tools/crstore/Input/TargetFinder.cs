using System.Globalization;
using Crstore.Model;

namespace Crstore.Cli;

/// <summary>The one process that PID, `--pidfile` or `--name` means.</summary>
internal static class TargetFinder
{
    /// <summary>A pid file is at least as young as its process; this much clock change is forgiven.</summary>
    private static readonly TimeSpan ClockSlack = TimeSpan.FromSeconds(60);

    /// <summary>Longest pid file that is looked at, bytes.</summary>
    private const int LongestPidFile = 4096;

    /// <summary>Finds it.</summary>
    /// <exception cref="UsageException">None or more than one way is given, or the name fits several.</exception>
    /// <exception cref="TargetException">There is no such process.</exception>
    public static ProcessSketch Find(int? pid, string? pidFile, string? name)
    {
        if ((pid is null ? 0 : 1) + (pidFile is null ? 0 : 1) + (name is null ? 0 : 1) != 1)
            throw new UsageException("name the target in one way: PID, --pidfile FILE or --name NAME", "see `crstore capture --help`");
        if (pidFile is not null) return ByPidFile(pidFile);
        return name is not null ? ByName(name) : ByPid(pid!.Value);
    }

    /// <summary>By number.</summary>
    public static ProcessSketch ByPid(int pid) => ProcessSketch.Read(pid)
        ?? throw new TargetException($"there is no process {pid}", "it has ended, or the number is wrong");

    private static ProcessSketch ByPidFile(string file)
    {
        var pid = ReadPidFile(file);
        var process = ProcessSketch.Read(pid)
            ?? throw new TargetException($"pid file {file} is stale: there is no process {pid}", "is the service running?");
        var written = new DateTimeOffset(File.GetLastWriteTimeUtc(file), TimeSpan.Zero);
        if (written + ClockSlack < process.StartedAt())
        {
            throw new TargetException(
                $"pid file {file} is stale: it was written before process {pid} ({process.Comm}) started",
                "the pid has been given to another process since; if it is the right one, give the PID itself");
        }
        return process;
    }

    private static int ReadPidFile(string file)
    {
        string text;
        try
        {
            using var reader = new StreamReader(file);
            var buffer = new char[LongestPidFile];
            text = new string(buffer, 0, reader.ReadBlock(buffer));
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new TargetException($"there is no pid file {file}", "is the service running?");
        }
        catch (Exception error) when (error is UnauthorizedAccessException or IOException)
        {
            throw new EnvironmentException($"pid file {file} cannot be read: {error.Message}", null, error);
        }

        // Some services write more lines (postgres: the data directory): the pid is the first.
        var line = text.Split('\n')[0].Trim();
        if (line.Length == 0)
            throw new TargetException($"pid file {file} is empty", "the service may be starting or gone; try again, or give the PID");
        return int.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out var pid) && pid > 0
            ? pid
            : throw new UsageException($"{file} is not a pid file: its first line is '{Shortened(line)}'", "it should hold one number");
    }

    private static ProcessSketch ByName(string name)
    {
        // The kernel cuts comm at 15 bytes, so a longer name can only be known by argv[0].
        var found = ProcessSketch.All()
            .Where(process => process.HasMemory && (process.Comm == name || process.FirstArgument == name)).ToList();
        return found switch
        {
            [] => throw new TargetException($"no process is named {name}", "the command name or the base name of argv[0] must be equal to it"),
            [var one] => one,
            _ => throw new UsageException($"{found.Count} processes are named {name}", Candidates(found)),
        };
    }

    private static string Candidates(List<ProcessSketch> found) => "give one PID: " + string.Join(", ", found
        .OrderBy(process => process.Pid).Take(20)
        .Select(process => $"{process.Pid} ({Shortened(process.CommandLine)})")) + (found.Count > 20 ? ", …" : "");

    private static string Shortened(string text) => text.Length <= 60 ? text : text[..57] + "…";
}
