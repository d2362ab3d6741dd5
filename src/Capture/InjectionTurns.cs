using Crstore.Capture.Freezing;
using Crstore.Linux.Memory;

namespace Crstore.Capture;

/// <summary>
/// What has to run in the frozen processes of a capture, by turns: a thread is told to make its calls, and while it is on its way others are looked after. Waiting for one behind
/// the other costs a switch to each and back, and on a busy machine each of those may take a millisecond.
/// </summary>
internal static class InjectionTurns
{
    /// <summary>Processes at a time: each holds a file and a parked thread meanwhile.</summary>
    private const int MostProcesses = 8;

    /// <summary>All of it; their threads are given back when this returns or throws.</summary>
    /// <param name="captures">Whose state has been read.</param>
    /// <param name="processes">The same, frozen.</param>
    /// <param name="watchdog">Asked before every turn.</param>
    public static void Run(IReadOnlyList<ProcessCapture> captures, IReadOnlyList<FrozenProcess> processes, FreezeWatchdog watchdog)
    {
        for (var first = 0; first < captures.Count;)
        {
            var end = first;
            try
            {
                for (; end < captures.Count && end < first + MostProcesses && IsApart(processes, first, end); end++) captures[end].BeginInjection(processes[end], watchdog);
                bool more;
                do
                {
                    watchdog.ThrowIfExpired();
                    more = false;
                    for (var i = first; i < end; i++) more |= captures[i].InjectNextThread();
                }
                while (more);
            }
            finally
            {
                for (var i = first; i < captures.Count && i <= end; i++) captures[i].EndInjection();
            }

            first = end;
        }
    }

    // The slots of processes that share their memory (vfork) are the same: one behind the other.
    private static bool IsApart(IReadOnlyList<FrozenProcess> processes, int first, int next)
    {
        for (var i = first; i < next; i++)
            if (!ProcessComparison.HaveMemoryApart(processes[i].Leader.Tid, processes[next].Leader.Tid)) return false;
        return true;
    }
}
