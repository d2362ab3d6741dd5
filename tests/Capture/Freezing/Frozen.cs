using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Tests.Support;

namespace Crstore.Tests.Capture.Freezing;

/// <summary>Short ways for tests to freeze something.</summary>
internal static class Frozen
{
    /// <summary>For a machine with much else to do, where a thread that computes may not run, and so not stop, for seconds.</summary>
    public static FreezeOptions Patient => new() { StopTimeout = Patience.Limit, MaxFrozen = 2 * Patience.Limit };

    /// <summary>Freezes, does something on the ptrace thread, thaws.</summary>
    public static T During<T>(int pid, Func<FrozenTree, T> work, bool tree = false, FreezeOptions? options = null)
    {
        using var thread = new PtraceThread();
        return thread.Run(() =>
        {
            using var frozen = FrozenTree.Freeze(pid, tree, options ?? Patient);
            return work(frozen);
        });
    }

    /// <summary>The same without a result.</summary>
    public static void During(int pid, Action<FrozenTree> work, bool tree = false, FreezeOptions? options = null) => During<object?>(pid, frozen =>
    {
        work(frozen);
        return null;
    }, tree, options);

    /// <summary>State letter of a process now.</summary>
    public static char State(int pid) => TaskStat.Read(pid)?.State ?? '-';

    /// <summary>Waits until a process is in one of these states.</summary>
    public static char WaitForState(int pid, string states)
    {
        var state = '-';
        Patience.Until(() => states.Contains(state = State(pid)), () => $"process {pid} to be in one of the states {states}, not {state}", pauseMs: 1);
        return state;
    }
}
