using System.Globalization;

namespace Crstore.Bench;

/// <summary>What the kernel counts of a process, all its threads: unlike its work in a time, hardly touched by what else the machine does.</summary>
/// <param name="RunNs">On a processor, in nanoseconds (/proc/PID/task/*/schedstat, Documentation/scheduler/sched-stats.rst).</param>
/// <param name="WaitNs">Ready to run, and waiting for one; from there too.</param>
/// <param name="SystemTicks">Of its time in the kernel, page faults among it: ticks of 10 ms, proc_pid_stat(5).</param>
/// <param name="Faults">Page faults that read nothing from a disk, from there too: the first write to a page that is watched is one.</param>
internal readonly record struct ProcessorAccount(long RunNs, long WaitNs, long SystemTicks, long Faults)
{
    /// <summary>As of now. The threads must stay the same ones up to the next look: what has ended is not in it.</summary>
    public static ProcessorAccount Of(int pid)
    {
        long run = 0, wait = 0;
        foreach (var thread in Directory.EnumerateDirectories($"/proc/{pid}/task"))
        {
            var words = File.ReadAllText(Path.Combine(thread, "schedstat")).Split(' ');
            run += Number(words[0]);
            wait += Number(words[1]);
        }

        var stat = File.ReadAllText($"/proc/{pid}/stat");
        var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' '); // from the third one on
        return new(run, wait, Number(fields[12]), Number(fields[7]));
    }

    public static ProcessorAccount operator -(ProcessorAccount a, ProcessorAccount b) =>
        new(a.RunNs - b.RunNs, a.WaitNs - b.WaitNs, a.SystemTicks - b.SystemTicks, a.Faults - b.Faults);

    private static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);
}
