using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart;

/// <summary>
/// A stopped process's memory: UFFDIO_COPY where pages are missing, process_vm_writev in bulk for others, /proc/PID/mem for what that
/// refuses (areas without PROT_WRITE). Thread safe once it is open.
/// </summary>
internal sealed class ProcessSink : IPageSink, IDisposable
{
    private const int MaxTries = 100_000;
    private readonly List<(ulong Start, ulong End)> installed = []; // in ascending order
    private ProcessMemory? memory;
    private Userfaultfd? pages;
    private int pid;

    /// <summary>There it is now.</summary>
    /// <param name="puppet">Has all its mappings.</param>
    /// <param name="empty">Mappings without a single page, in ascending order.</param>
    public void Open(Puppet puppet, IEnumerable<Vma> empty)
    {
        if (HugePagesComeByThemselves()) // a fault gives 512 pages at once
        {
            Open(puppet.Tid, null, []);
            return;
        }

        var made = Create(puppet);
        if (made?.Enable() is > 0)
        {
            made.Dispose();
            made = null;
        }

        Open(puppet.Tid, made, empty);
    }

    /// <summary>The same for any process.</summary>
    /// <param name="process">Which.</param>
    /// <param name="made">A userfaultfd of it, enabled; null: there is none.</param>
    /// <param name="empty">Mappings without a single page, in ascending order.</param>
    internal void Open(int process, Userfaultfd? made, IEnumerable<Vma> empty)
    {
        (pid, pages, memory) = (process, made, ProcessMemory.Open(process));
        if (pages is null) return;
        foreach (var vma in empty)
            if (pages.RegisterMissing(vma.Start, vma.End - vma.Start) == 0) installed.Add((vma.Start, vma.End));
    }

    private static Userfaultfd? Create(Puppet puppet)
    {
        var fd = puppet.Call("userfaultfd", Userfaultfd.SyscallNumber, Userfaultfd.CreateFlags);
        if (fd < 0) return null; // not in this kernel, or not allowed: it is only slower
        var taken = Take(puppet, (int)fd);
        puppet.Queue("close", SystemCalls.Close, fd);
        puppet.Flush();
        return taken;
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes, ulong at)
    {
        while (!bytes.IsEmpty)
        {
            var (missing, end) = Extent(at);
            var part = bytes[..(int)Math.Min((ulong)bytes.Length, end - at)];
            var n = missing ? Install(part, at) : RemoteMemory.TryWrite(pid, at, part);
            if (n <= 0)
            {
                n = Math.Min(part.Length, VirtualPage.Size);
                Force(part[..(int)n], at);
            }

            bytes = bytes[(int)n..];
            at += (ulong)n;
        }
    }

    /// <summary>All is written; the process may touch its memory from now on.</summary>
    public void Close()
    {
        pages?.Dispose();
        pages = null;
        installed.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Close();
        memory?.Dispose();
    }

    // A sandbox may forbid pidfd_getfd and not userfaultfd; then this is slower, too.
    private static Userfaultfd? Take(Puppet puppet, int fd)
    {
        try
        {
            using var process = PidFd.Open(puppet.Tid);
            return new Userfaultfd(process.GetFd(fd));
        }
        catch (LinuxException)
        {
            return null;
        }
    }

    // /sys/kernel/mm/transparent_hugepage/enabled, Documentation/admin-guide/mm/transhuge.rst.
    private static bool HugePagesComeByThemselves() =>
        FileCalls.ReadText("/sys/kernel/mm/transparent_hugepage/enabled")?.Contains("[always]", StringComparison.Ordinal) == true;

    // Whether pages are missing there, and the address up to which that is so. Neighbours in memory are written at once.
    private (bool Missing, ulong End) Extent(ulong at)
    {
        var (low, high) = (0, installed.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (installed[middle].End <= at) low = middle + 1;
            else high = middle;
        }

        if (low == installed.Count) return (false, ulong.MaxValue);
        return installed[low].Start <= at ? (true, installed[low].End) : (false, installed[low].Start);
    }

    // ioctl_userfaultfd(2), UFFDIO_COPY. 0: the first page is for the other way.
    private long Install(ReadOnlySpan<byte> bytes, ulong at)
    {
        for (var tries = 0; ; tries++)
        {
            var n = pages!.TryCopy(at, bytes);
            if (n > 0) return n;
            switch (-n)
            {
                case Errno.EAGAIN when tries < MaxTries: // its mappings are being changed, or the page table was in the way
                    System.Threading.Thread.Yield();
                    continue;
                case Errno.ENOENT when bytes.Length > VirtualPage.Size: // not all of it is the mapping that was registered: page by page
                    bytes = bytes[..VirtualPage.Size];
                    continue;
                case Errno.EEXIST: // the page is there
                case Errno.ENOENT:
                    return 0;
                case Errno.ESRCH or Errno.ENOSPC: // ENOSPC: kernels before 4.13
                    throw CannotFill(at, "it has ended", null);
                case Errno.ENOMEM:
                    throw new EnvironmentException($"process {pid}: its memory at {at:x} can't be filled: {Errno.Describe(Errno.ENOMEM)}", "free some memory, or raise the limit of its control group");
                default:
                    throw CannotFill(at, $"UFFDIO_COPY: {Errno.Describe((int)-n)}", null);
            }
        }
    }

    private EnvironmentException CannotFill(ulong at, string why, Exception? inner) => new($"process {pid}: its memory at {at:x} can't be filled: {why}", null, inner);

    private void Force(ReadOnlySpan<byte> bytes, ulong at)
    {
        try
        {
            memory!.Write(at, bytes);
        }
        catch (LinuxException e)
        {
            throw CannotFill(at, e.Message, e);
        }
    }
}

/// <summary>Shared memory, by offset.</summary>
internal sealed class SharedMemorySink(SafeFileHandle file) : IPageSink
{
    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes, ulong at) => FileCalls.WriteAt(file, bytes, (long)at, "shared memory");
}
