using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart;

/// <summary>A stopped process's memory: process_vm_writev in bulk, /proc/PID/mem for what that refuses (areas without PROT_WRITE).</summary>
internal sealed class ProcessSink : IPageSink, IDisposable
{
    private ProcessMemory? memory;
    private int pid;

    /// <summary>There it is now.</summary>
    public void Open(int tid) => (pid, memory) = (tid, ProcessMemory.Open(tid));

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes, ulong at)
    {
        while (!bytes.IsEmpty)
        {
            var n = RemoteMemory.TryWrite(pid, at, bytes);
            if (n <= 0)
            {
                n = Math.Min(bytes.Length, VirtualPage.Size);
                Force(bytes[..(int)n], at);
            }

            bytes = bytes[(int)n..];
            at += (ulong)n;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => memory?.Dispose();

    private void Force(ReadOnlySpan<byte> bytes, ulong at)
    {
        try
        {
            memory!.Write(at, bytes);
        }
        catch (LinuxException e)
        {
            throw new EnvironmentException($"process {pid}: its memory at {at:x} can't be filled: {e.Message}", null, e);
        }
    }
}

/// <summary>Shared memory, by offset.</summary>
internal sealed class SharedMemorySink(SafeFileHandle file) : IPageSink
{
    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes, ulong at) => FileCalls.WriteAt(file, bytes, (long)at, "shared memory");
}
