using System.Diagnostics;
using System.Globalization;

namespace Crstore.Tests.Support;

/// <summary>
/// How a test waits for what must come: until it is there, and no longer. The limit only ends what hangs; no machine is so busy that it comes near it.
/// What must not come, or is true by chance only, is no matter of waiting: have the target wait until it is told to go on, or try again.
/// </summary>
public static class Patience
{
    /// <summary>After so long it will never come.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    /// <summary>Waits until something is so; throws, with what it waited for, when patience is at its end.</summary>
    public static void Until(Func<bool> isSo, string what, int pauseMs = 5) => Until(isSo, () => what, pauseMs);

    /// <summary>The same with words that are only known then.</summary>
    public static void Until(Func<bool> isSo, Func<string> what, int pauseMs = 5)
    {
        for (var clock = Stopwatch.StartNew(); !isSo(); Thread.Sleep(pauseMs))
            if (clock.Elapsed > Limit) throw new TimeoutException($"waited for {Limit} in vain: {what()}");
    }

    /// <summary>Waits until a process has computed for so long, on however busy a machine: for work that it does without saying so.</summary>
    /// <param name="pid">It.</param>
    /// <param name="time">Processor time from now on, of all its threads; it is counted in ticks of 10 ms.</param>
    public static void UntilItHasRunFor(int pid, TimeSpan time)
    {
        // Patience ends when it gets nowhere: beside much that is more important it may have a thousandth of a processor.
        var (before, ran) = (ProcessorTime(pid), TimeSpan.Zero);
        while (ran < time)
        {
            var now = ran;
            Until(() => (now = ProcessorTime(pid) - before) > ran, $"process {pid} does not run");
            ran = now;
        }
    }

    /// <summary>
    /// Waits until the first thread of a process sleeps in one of these system calls, proc_pid_syscall(5). A signal that comes before, when a program has looked for signals
    /// for the last time, does not end the call: python3 then hears of it when something else does. (A tracer's stop in between makes these microseconds many more.)
    /// </summary>
    /// <param name="pid">The process.</param>
    /// <param name="calls">Numbers of syscall_64.tbl.</param>
    public static void UntilItIsIn(int pid, params int[] calls) => Until(
        () => Stat(pid)[0] == "S" && File.ReadAllText($"/proc/{pid}/syscall").Split(' ')[0] is var call && Array.Exists(calls, c => call == c.ToString(CultureInfo.InvariantCulture)) && Stat(pid)[0] == "S",
        () => $"process {pid} to be in system call {string.Join(" or ", calls)}", pauseMs: 1);

    // proc_pid_stat(5): fields 14 and 15, in ticks of 10 ms (USER_HZ is 100 on every Linux for x86-64).
    private static TimeSpan ProcessorTime(int pid)
    {
        var fields = Stat(pid);
        return TimeSpan.FromMilliseconds(10 * (double.Parse(fields[11], null) + double.Parse(fields[12], null)));
    }

    // From the third field on, the state: proc_pid_stat(5).
    private static string[] Stat(int pid)
    {
        var stat = File.ReadAllText($"/proc/{pid}/stat");
        return stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
    }
}
