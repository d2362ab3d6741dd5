using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux;

/// <summary>pidfd_open(2): a handle on a process that can't come to mean another one when the pid is reused.</summary>
public sealed class PidFd : IDisposable
{
    private readonly SafeFileHandle _handle;

    private PidFd(SafeFileHandle handle) => _handle = handle;

    /// <summary>For poll(2): there is something to read when the process has ended.</summary>
    public SafeFileHandle Handle => _handle;

    /// <summary>Opens it; ESRCH if there is no such process.</summary>
    public static PidFd Open(int pid) =>
        new(new SafeFileHandle((nint)RawSyscall.Checked("pidfd_open", $"process {pid}", RawSyscall.PidfdOpen, pid, 0), ownsHandle: true));

    /// <summary>A duplicate, in this process, of the process's fd: pidfd_getfd(2). Needs ptrace access.</summary>
    public SafeFileHandle GetFd(int fd) =>
        new((nint)RawSyscall.Checked("pidfd_getfd", $"fd {fd}", RawSyscall.PidfdGetfd, _handle.DangerousGetHandle(), fd, 0), ownsHandle: true);

    /// <summary>Sends a signal: pidfd_send_signal(2). 0 or the errno.</summary>
    public int TrySendSignal(int signal) => RawSyscall.Errno(RawSyscall.PidfdSendSignal, _handle.DangerousGetHandle(), signal, 0, 0);

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
