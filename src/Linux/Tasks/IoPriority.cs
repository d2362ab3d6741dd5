namespace Crstore.Linux;

/// <summary>ioprio_get(2): the priority of a thread's reads and writes.</summary>
public static class IoPriority
{
    private const long IoprioGet = 252, WhoProcess = 1; // syscall_64.tbl; IOPRIO_WHO_PROCESS, which means a thread

    /// <summary>A thread's: class &lt;&lt; 13 | level. 0 if it can't be told.</summary>
    public static uint Get(int tid) => (uint)Math.Max(RawSyscall.Invoke(IoprioGet, WhoProcess, tid), 0);
}
