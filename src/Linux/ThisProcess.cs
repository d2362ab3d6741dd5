using System.Text;

namespace Crstore.Linux;

/// <summary>Ending this process without any of the runtime's ceremony.</summary>
public static unsafe class ThisProcess
{
    /// <summary>
    /// Writes a message to stderr, if it takes it without blocking (its reader may be the very process that is frozen),
    /// and ends at once: no finally-block, no finalizer. The kernel detaches all tracees.
    /// </summary>
    public static void ExitNow(int exitCode, string message)
    {
        var bytes = Encoding.UTF8.GetBytes(message + "\n");
        const short pollOut = 4;
        var pollfd = stackalloc int[2] { 2, pollOut }; // struct pollfd { int fd; short events, revents; }, poll(2)
        fixed (byte* p = bytes)
        {
            if (RawSyscall.Invoke(RawSyscall.Poll, (long)pollfd, 1, 100) == 1) RawSyscall.Errno(1, 2, (long)p, bytes.Length);
        }
        RawSyscall.Errno(RawSyscall.ExitGroup, exitCode);
    }
}
