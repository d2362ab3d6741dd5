using System.Text;
using Crstore.Linux.Proc;

namespace Crstore.Restore.Restart;

/// <summary>Processes that had exited and were not waited for: they come back only to exit again, with the same status, but for a core that was dumped (WCOREDUMP).</summary>
internal static class Zombies
{
    private const int Signal = 0x7f, CodeShift = 8; // wait(2): WTERMSIG, WEXITSTATUS

    /// <summary>Ends those that had ended. Their parents are there, and have not got their own signal handlers yet.</summary>
    public static void End(IEnumerable<Restarted> processes)
    {
        foreach (var process in processes.Where(p => p.Message.Zombie))
        {
            var puppet = process.Leader;
            puppet.Queue("prctl(PR_SET_NAME)", SystemCalls.Prctl, SystemCalls.PrSetName, (long)puppet.Place([.. Encoding.UTF8.GetBytes(process.Message.Comm), 0]));
            // Whatever ended it, it does not dump core a second time; /proc/sys/kernel/core_pattern may name a program, which limits don't keep from running.
            puppet.Queue("prctl(PR_SET_DUMPABLE)", SystemCalls.Prctl, SystemCalls.PrSetDumpable, 0, 0, 0, 0);
            puppet.Flush();
            var status = StatLine.Parse(process.Message.Stat.Span).ExitCode;
            if ((status & Signal) != 0) puppet.DieOf(status & Signal);
            else puppet.Exit(status >> CodeShift);
        }
    }
}
