namespace Crstore.Linux;

/// <summary>get_robust_list(2).</summary>
public static unsafe class RobustList
{
    /// <summary>Head of a thread's robust futex list and its length in bytes; (0, 0) if it has none. Needs ptrace access.</summary>
    public static (ulong Head, ulong Length) Get(int tid)
    {
        ulong head = 0, length = 0;
        RawSyscall.Checked("get_robust_list", $"thread {tid}", RawSyscall.GetRobustList, tid, (long)&head, (long)&length);
        return (head, head == 0 ? 0 : length);
    }
}
