using Crstore.Capture.Freezing;
using Crstore.Linux;

namespace Crstore.Tests.Capture.Freezing;

/// <summary>Short ways for tests to freeze something.</summary>
internal static class Frozen
{
    /// <summary>Freezes, does something on the ptrace thread, thaws.</summary>
    public static T During<T>(int pid, Func<FrozenTree, T> work, bool tree = false, FreezeOptions? options = null)
    {
        using var thread = new PtraceThread();
        return thread.Run(() =>
        {
            using var frozen = FrozenTree.Freeze(pid, tree, options ?? new FreezeOptions());
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

    /// <summary>Waits until a process is in one of these states; gives up after ten seconds.</summary>
    public static char WaitForState(int pid, string states)
    {
        for (var i = 0; i < 10_000 && !states.Contains(State(pid)); i++) Thread.Sleep(1);
        return State(pid);
    }
}
