using System.Globalization;
using System.Text;
using Crstore.Linux.Proc;

namespace Crstore.Cli;

/// <summary>A process as `--name`, `--pidfile` and the default series see it, from /proc (proc(5)).</summary>
/// <param name="Pid">Process id.</param>
/// <param name="Comm">Command name, at most 15 bytes, as the kernel keeps it.</param>
/// <param name="FirstArgument">Base name of argv[0]; empty for kernel threads and zombies.</param>
/// <param name="CommandLine">All arguments, blank separated.</param>
/// <param name="StartTimeTicks">Start after boot in clock ticks (1/100 s): with the pid it names this process for ever.</param>
internal sealed record ProcessSketch(int Pid, string Comm, string FirstArgument, string CommandLine, ulong StartTimeTicks)
{
    /// <summary>Clock ticks a second (USER_HZ, fixed at 100 on x86-64).</summary>
    private const double TicksPerSecond = 100;

    /// <summary>PF_KTHREAD (linux/sched.h), field 9 of /proc/PID/stat.</summary>
    private const ulong KernelThread = 0x0020_0000;

    /// <summary>False for zombies and kernel threads.</summary>
    public required bool HasMemory { get; init; }

    /// <summary>The process, or null if there is none of that pid (any more).</summary>
    public static ProcessSketch? Read(int pid)
    {
        try
        {
            var stat = StatLine.Parse(File.ReadAllBytes($"/proc/{pid}/stat"));
            var arguments = Encoding.UTF8.GetString(File.ReadAllBytes($"/proc/{pid}/cmdline")).TrimEnd('\0').Split('\0');
            return new ProcessSketch(pid, stat.Comm, Path.GetFileName(arguments[0]), string.Join(' ', arguments), stat.StartTime)
            {
                HasMemory = !stat.IsZombie && (stat.Flags & KernelThread) == 0,
            };
        }
        catch (IOException)
        {
            // ENOENT and ESRCH both say: gone.
            return null;
        }
    }

    /// <summary>All processes there are, this one left out.</summary>
    public static IEnumerable<ProcessSketch> All()
    {
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(directory.AsSpan()), NumberStyles.None, CultureInfo.InvariantCulture, out var pid)) continue;
            if (pid != Environment.ProcessId && Read(pid) is { } process) yield return process;
        }
    }

    /// <summary>When it was started, by the wall clock of now.</summary>
    public DateTimeOffset StartedAt()
    {
        var uptime = double.Parse(File.ReadAllText("/proc/uptime").Split(' ')[0], CultureInfo.InvariantCulture);
        return DateTimeOffset.UtcNow - TimeSpan.FromSeconds(uptime - (StartTimeTicks / TicksPerSecond));
    }

    /// <summary>The series of a target that was given no name: `redis-server.1234.8765432`.</summary>
    public string DefaultSeries()
    {
        var name = new string([.. Comm.Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' ? c : '_')]);
        return string.Create(CultureInfo.InvariantCulture, $"{name}.{Pid}.{StartTimeTicks}");
    }
}
