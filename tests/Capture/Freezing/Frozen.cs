using Crstore.Capture.Freezing;
using Crstore.Linux;

namespace Crstore.Tests.Capture.Freezing;

/// <summary>Short ways for tests to freeze something.</summary>
internal static class Frozen
{
    /// <summary>For a machine with much else to do, where a thread that computes may not run, and so not stop, for seconds.</summary>
    public static FreezeOptions Patient => new() { StopTimeout = TimeSpan.FromMinutes(1), MaxFrozen = TimeSpan.FromMinutes(5) };

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

    /// <summary>Waits until a process is in one of these states; gives up after a minute.</summary>
    public static char WaitForState(int pid, string states)
    {
        for (var i = 0; i < 60_000 && !states.Contains(State(pid)); i++) Thread.Sleep(1);
        return State(pid);
    }
}
