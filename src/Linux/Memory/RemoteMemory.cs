using System.Runtime.InteropServices;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Memory;

/// <summary>A stretch of another process's memory: struct iovec, process_vm_readv(2).</summary>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct RemoteSpan(ulong Address, ulong LengthBytes);

/// <summary>Reads another process's memory: process_vm_readv(2) in bulk, /proc/PID/mem for what that refuses (areas without PROT_READ).</summary>
public sealed partial class RemoteMemory : IDisposable
{
    /// <summary>IOV_MAX, limits.h: spans in one call.</summary>
    public const int MaxSpans = 1024;

    private readonly SafeFileHandle _mem;
    private readonly int _pid;

    private RemoteMemory(int pid, SafeFileHandle mem)
    {
        _pid = pid;
        _mem = mem;
    }

    /// <summary>Opens /proc/PID/mem for reading; it stays bound to the address space of now.</summary>
    /// <exception cref="LinuxException">Gone, or no ptrace access.</exception>
    public static RemoteMemory Open(int pid) => new(pid, RawFile.Open($"/proc/{pid}/mem"));

    /// <summary>
    /// process_vm_readv of up to <see cref="MaxSpans"/> spans into consecutive bytes. Returns the bytes read, which is less than
    /// asked for where a page can't be read: it is the one behind the last byte read. -errno if that is the very first one.
    /// </summary>
    public long TryRead(ReadOnlySpan<RemoteSpan> spans, Span<byte> destination) => TryRead(_pid, spans, destination);

    /// <inheritdoc cref="TryRead(ReadOnlySpan{RemoteSpan}, Span{byte})"/>
    public static long TryRead(int pid, ReadOnlySpan<RemoteSpan> spans, Span<byte> destination)
    {
        unsafe
        {
            fixed (byte* to = destination)
            {
                var local = new RemoteSpan((ulong)to, (ulong)destination.Length);
                var n = ReadvNative(pid, ref local, 1, ref MemoryMarshal.GetReference(spans), (ulong)spans.Length, 0);
                return n < 0 ? -Marshal.GetLastPInvokeError() : n;
            }
        }
    }

    /// <summary>process_vm_writev into consecutive memory. Returns the bytes written, which is less than given where a page can't be written; -errno if that is the first.</summary>
    public static long TryWrite(int pid, ulong address, ReadOnlySpan<byte> source)
    {
        unsafe
        {
            fixed (byte* from = source)
            {
                var local = new RemoteSpan((ulong)from, (ulong)source.Length);
                var remote = new RemoteSpan(address, (ulong)source.Length);
                var n = WritevNative(pid, ref local, 1, ref remote, 1, 0);
                return n < 0 ? -Marshal.GetLastPInvokeError() : n;
            }
        }
    }

    /// <summary>pread of /proc/PID/mem, which looks past the protection bits. Returns bytes read or -errno (EIO: unreadable).</summary>
    public int TryReadForced(ulong address, Span<byte> destination) => RawFile.TryReadAt(_mem, destination, address);

    /// <summary>Reads exactly that many bytes.</summary>
    /// <exception cref="LinuxException">Not all of it is readable; names the page.</exception>
    public void Read(ulong address, Span<byte> destination)
    {
        var done = 0;
        while (done < destination.Length)
        {
            var n = TryReadForced(address + (ulong)done, destination[done..]);
            if (n <= 0) throw new LinuxException("pread", n == 0 ? Errno.EIO : -n, $"/proc/{_pid}/mem at {VirtualPage.Of(address + (ulong)done)}");
            done += n;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _mem.Dispose();

    [LibraryImport("libc", EntryPoint = "process_vm_readv", SetLastError = true)]
    private static partial nint ReadvNative(int pid, ref RemoteSpan local, ulong localCount, ref RemoteSpan remote, ulong remoteCount, ulong flags);

    [LibraryImport("libc", EntryPoint = "process_vm_writev", SetLastError = true)]
    private static partial nint WritevNative(int pid, ref RemoteSpan local, ulong localCount, ref RemoteSpan remote, ulong remoteCount, ulong flags);
}
