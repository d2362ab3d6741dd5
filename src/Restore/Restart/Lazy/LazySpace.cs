using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Thread = System.Threading.Thread;

namespace Crstore.Restore.Restart.Lazy;

/// <summary>
/// The memory of one process that is filled while it runs. Its mappings are registered with a userfaultfd: who touches a page that is missing waits
/// until it is made.
/// <para>
/// Why no page ever gets old content: a page that is there is never written over (UFFDIO_COPY says EEXIST), and one of memory that is not registered is
/// not made (ENOENT). What is registered has only pages that the process has never given back: <see cref="LazyTracer"/> holds every call that could
/// give back, move or copy some, until they are filled and no longer registered (<see cref="Settle"/>). So it doesn't matter who is first,
/// or late, and nobody here waits for anybody.
/// </para>
/// </summary>
/// <param name="source">Its image.</param>
/// <param name="vmas">They, in ascending order.</param>
internal sealed class LazySpace(ProcessImage source, IReadOnlyList<Vma> vmas) : IPageSink, IDisposable
{
    private const ulong BlockPages = 16; // what is stored together, mostly
    private const int MaxTries = 100_000;
    private readonly List<(ulong Start, ulong End)> registered = []; // on the ptrace thread
    private Userfaultfd? pages;
    private PidFd? process;

    /// <summary>It.</summary>
    public Process Message => source.Process;

    /// <summary>Its id, as crstore's pid namespace has it.</summary>
    public int Pid { get; private set; }

    /// <summary>For poll(2).</summary>
    public Userfaultfd Faults => pages!;

    /// <summary>For poll(2), and to end it.</summary>
    public PidFd Handle => process!;

    /// <summary>Registers all of it. Nobody has touched it yet. On the ptrace thread.</summary>
    /// <returns>False: it is not allowed here, and nothing is registered.</returns>
    public bool TryRegister(Puppet puppet)
    {
        Pid = puppet.Tid;
        process = PidFd.Open(Pid);
        var fd = puppet.Call("userfaultfd", Userfaultfd.SyscallNumber, Userfaultfd.CreateFlagsForKernelFaults);
        if (fd < 0) return false;
        pages = new Userfaultfd(process.GetFd((int)fd));
        puppet.Queue("close", SystemCalls.Close, fd);
        puppet.Flush();
        if (pages.Enable() != 0) return false;
        foreach (var vma in vmas)
        {
            var errno = pages.RegisterMissing(vma.Start, vma.End - vma.Start);
            if (errno != 0) throw new EnvironmentException($"process {Message.Pid}: its memory at {vma.Start:x} can't be filled later: UFFDIO_REGISTER: {Errno.Describe(errno)}", "restart it without --lazy");
            registered.Add((vma.Start, vma.End));
        }

        return true;
    }

    /// <summary>Makes the page at an address, and those stored with it, and wakes who waits for them. An address elsewhere is none of ours.</summary>
    /// <exception cref="StoreDamagedException">It can't be had.</exception>
    public void Serve(ulong address)
    {
        if (vmas.FirstOrDefault(v => v.Start <= address && address < v.End) is not { } vma) return;
        var page = VirtualPage.Of(address);
        var block = new PageRange(new VirtualPage(page.Number / BlockPages * BlockPages), BlockPages).Intersect(ProcessImage.RangeOf(vma));
        var targets = new List<PageTarget>();
        var saved = false;
        foreach (var run in source.Runs(vma, block))
        {
            if (run.Content != ImageContent.Saved) continue;
            saved |= run.Range.Start.Number <= page.Number && page.Number < run.Range.End.Number;
            targets.Add(new PageTarget(run.Range, default, new Receiver(this)));
        }

        if (targets.Count > 0) source.ReadSaved(targets);
        // EAGAIN: not made, and so asked for again.
        if (!saved && pages!.TryZero(page.Address) is var errno and not (0 or Errno.EEXIST or Errno.ENOENT or Errno.ESRCH or Errno.EAGAIN))
            throw CannotFill(page.Address, $"UFFDIO_ZEROPAGE: {Errno.Describe(errno)}");
        pages!.Wake(block.Start.Address, block.SizeBytes);
    }

    /// <summary>Fills everything.</summary>
    public void FillAll(RunCopier copier)
    {
        foreach (var vma in vmas) copier.Copy(source, vma, ProcessImage.RangeOf(vma), this, vma.Start);
    }

    /// <summary>Fills part of it for good: its pages are then like any others, and crstore never makes one of them again. On the ptrace thread.</summary>
    /// <param name="start">Any address.</param>
    /// <param name="end">The address behind the last one.</param>
    /// <param name="cancel">Ends it.</param>
    public void Settle(ulong start, ulong end, CancellationToken cancel)
    {
        start &= ~(ulong)(VirtualPage.Size - 1);
        end = end > ulong.MaxValue - VirtualPage.Size ? end : (end + VirtualPage.Size - 1) & ~(ulong)(VirtualPage.Size - 1);
        for (var i = 0; i < registered.Count; i++)
        {
            var (from, to) = registered[i];
            var (first, last) = (Math.Max(from, start), Math.Min(to, end));
            if (first >= last) continue;
            using (var copier = new RunCopier(null, cancel) { FilePages = false })
            {
                foreach (var vma in vmas.Where(v => v.Start < last && first < v.End))
                {
                    var part = PageRange.OfAddresses(Math.Max(first, vma.Start), Math.Min(last, vma.End));
                    copier.Copy(source, vma, part, this, part.Start.Address);
                }

                copier.Complete();
            }

            var errno = pages!.Unregister(first, last - first);
            if (errno == Errno.ENOMEM && (from, to) != (first, last))
            {
                // It has no more mappings to spare for a hole in this one.
                (start, end) = (Math.Min(start, from), Math.Max(end, to));
                i--;
                continue;
            }

            if (errno != 0 && pages.TryZero(first) != Errno.ESRCH) throw CannotFill(first, $"UFFDIO_UNREGISTER: {Errno.Describe(errno)}");
            registered.RemoveAt(i--);
            if (from < first) registered.Insert(++i, (from, first));
            if (last < to) registered.Insert(++i, (last, to));
        }
    }

    /// <summary>Pages of it, from the store: makes those that are missing.</summary>
    public void Write(ReadOnlySpan<byte> bytes, ulong at)
    {
        for (var tries = 0; !bytes.IsEmpty;)
        {
            var n = pages!.TryCopy(at, bytes);
            if (n <= 0)
            {
                switch (-n)
                {
                    case Errno.EAGAIN when tries++ < MaxTries: // its mappings are being changed, or the page table was in the way
                        Thread.Yield();
                        continue;
                    case Errno.EEXIST: // it is there
                        n = VirtualPage.Size;
                        break;
                    case Errno.ENOENT: // given back, or not all of it in one mapping
                        n = bytes.Length == VirtualPage.Size ? VirtualPage.Size : PageByPage(bytes, at);
                        break;
                    case Errno.ESRCH: // nobody runs in it any more
                        return;
                    case Errno.ENOMEM:
                        throw new EnvironmentException($"process {Message.Pid}: its memory at {at:x} can't be filled: {Errno.Describe(Errno.ENOMEM)}", "free some memory, or raise the limit of its control group");
                    default:
                        throw CannotFill(at, $"UFFDIO_COPY: {Errno.Describe((int)-n)}");
                }
            }

            tries = 0;
            bytes = bytes[(int)n..];
            at += (ulong)n;
        }
    }

    /// <summary>All of it is filled, or nobody runs in it any more: the kernel makes its pages again.</summary>
    public void Release() => pages?.Dispose();

    /// <summary>The process runs by itself, or is gone.</summary>
    public void Dispose()
    {
        Release();
        process?.Dispose();
    }

    private long PageByPage(ReadOnlySpan<byte> bytes, ulong at)
    {
        for (var done = 0; done < bytes.Length; done += VirtualPage.Size) Write(bytes.Slice(done, VirtualPage.Size), at + (ulong)done);
        return bytes.Length;
    }

    private EnvironmentException CannotFill(ulong at, string why) => new($"process {Message.Pid}: its memory at {at:x} can't be filled: {why}");

    private sealed class Receiver(LazySpace space) : IPageReceiver
    {
        public void Receive(VirtualPage first, ReadOnlySpan<byte> pages) => space.Write(pages, first.Address);
    }
}
