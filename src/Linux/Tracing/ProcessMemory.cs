using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux;

/// <summary>
/// /proc/PID/mem, proc(5): another process's memory by address, also where it may not read or write itself. Needs ptrace
/// access; writing to read-only pages makes private copies of them. A short transfer is an error.
/// </summary>
public sealed unsafe partial class ProcessMemory : IDisposable
{
    private readonly SafeFileHandle _file;

    private ProcessMemory(int pid, SafeFileHandle file) => (Pid, _file) = (pid, file);

    /// <summary>Whose memory.</summary>
    public int Pid { get; }

    /// <summary>Opens it for reading and writing.</summary>
    public static ProcessMemory Open(int pid)
    {
        const int readWrite = 2, closeOnExec = 0x80000; // O_RDWR | O_CLOEXEC, open(2)
        var path = $"/proc/{pid}/mem";
        var fd = OpenFile(path, readWrite | closeOnExec, 0);
        return fd < 0 ? throw LinuxException.Last("open", path) : new ProcessMemory(pid, new SafeFileHandle(fd, ownsHandle: true));
    }

    /// <summary>Fills the buffer. EIO if a page of it isn't mapped or can't be read.</summary>
    public void Read(ulong address, Span<byte> buffer)
    {
        fixed (byte* p = buffer) Transfer(RawSyscall.Pread64, "pread", p, buffer.Length, address);
    }

    /// <summary>Writes the whole buffer, through read-only protection too if the mapping is private.</summary>
    public void Write(ulong address, ReadOnlySpan<byte> buffer)
    {
        fixed (byte* p = buffer) Transfer(RawSyscall.Pwrite64, "pwrite", p, buffer.Length, address);
    }

    /// <summary>As <see cref="Read"/>, but false if it isn't mapped.</summary>
    public bool TryRead(ulong address, Span<byte> buffer)
    {
        try
        {
            Read(address, buffer);
            return true;
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.EIO or Errno.EFAULT)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private void Transfer(long number, string call, byte* buffer, int length, ulong address)
    {
        var subject = $"/proc/{Pid}/mem at 0x{address:x}";
        for (var done = 0; done < length;)
        {
            var n = RawSyscall.Checked(call, subject, number, _file.DangerousGetHandle(), (long)(buffer + done), length - done, (long)address + done);
            // The kernel gives 0 bytes for a process whose memory is gone (it has exited).
            if (n == 0) throw new LinuxException(call, Errno.ESRCH, subject);
            done += (int)n;
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags, uint mode);
}
