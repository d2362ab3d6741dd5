using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>A page whose content could not be read, and why.</summary>
public readonly record struct UnreadablePage(VirtualPage Page, int ErrorNumber);

/// <summary>
/// Copies pages of one process: process_vm_readv by the crew, /proc/PID/mem for areas without PROT_READ and for pages that the
/// former refuses. Nothing is ever zero-filled silently: what can't be read is listed.
/// </summary>
public sealed class PageReader : IDisposable
{
    private readonly int _pid;
    private readonly RemoteMemory _memory;
    private readonly CopyQueue _queue;
    private readonly FreezeCrew _crew;
    private readonly Action _ask;
    private MappedMemory? _sample;
    private Action<VirtualPage, int> _sampleLost = static (_, _) => { };

    /// <summary>Opens the process; its address space must be the one to read. The crew works for it until it is disposed of.</summary>
    /// <param name="pid">Process.</param>
    /// <param name="queue">To be used by nobody else meanwhile.</param>
    /// <param name="crew">Who helps to copy.</param>
    /// <param name="watchdog">Asked before every batch; null outside a freeze.</param>
    /// <exception cref="LinuxException">Gone, or refused.</exception>
    public PageReader(int pid, CopyQueue queue, FreezeCrew crew, FreezeWatchdog? watchdog = null)
    {
        _pid = pid;
        _memory = RemoteMemory.Open(pid);
        _queue = queue;
        _crew = crew;
        _ask = watchdog is null ? static () => { } : watchdog.ThrowIfExpired;
        queue.Begin(pid);
        crew.Begin(queue);
    }

    /// <summary>Pages that could not be read.</summary>
    public List<UnreadablePage> Unreadable { get; } = [];

    /// <summary>Pages read into the buffer.</summary>
    public ulong PagesRead { get; private set; }

    /// <summary>Copies a run of pages into the buffer, draining it when it is full. All of it is there after <see cref="Flush"/>.</summary>
    /// <param name="range">Pages.</param>
    /// <param name="forced">The VMA has no PROT_READ.</param>
    /// <param name="buffer">Where to.</param>
    /// <param name="writer">The space they belong to.</param>
    /// <exception cref="LinuxException">The process is gone.</exception>
    public void Copy(PageRange range, bool forced, PageBuffer buffer, ISpaceWriter writer)
    {
        while (!range.IsEmpty)
        {
            var granted = buffer.Reserve(writer, range, out var place);
            if (granted == 0)
            {
                Flush(buffer, writer);
                buffer.Drain();
                continue;
            }

            if (forced) CopyForced(range.Start, granted, place, buffer, writer);
            else Enqueue(range.Start, granted, place, buffer, writer);
            range = new PageRange(range.Start + (ulong)granted, range.Count - (ulong)granted);
        }
    }

    /// <summary>Waits for what was asked for.</summary>
    /// <exception cref="LinuxException">The process is gone.</exception>
    public void Flush(PageBuffer buffer, ISpaceWriter writer)
    {
        var asked = FinishRound((page, error) => Lose(page, error, buffer, writer));
        PagesRead += asked; // afterwards: what was lost is taken off in there
        _sample = null;
    }

    /// <summary>
    /// Copies single pages one behind the other into a segment, for the lie check; after the last <see cref="Copy"/>. All of it is there after <see cref="Flush"/>:
    /// the crew is still busy with what was asked for before.
    /// </summary>
    /// <param name="pages">Pages, in ascending order.</param>
    /// <param name="segment">Where to.</param>
    /// <param name="lost">Told the pages that can't be read, with errno.</param>
    /// <param name="buffer">What was asked for before: where to.</param>
    /// <param name="writer">The space that belongs to.</param>
    /// <exception cref="LinuxException">The process is gone.</exception>
    public void CopySample(ReadOnlySpan<VirtualPage> pages, MappedMemory segment, Action<VirtualPage, int> lost, PageBuffer buffer, ISpaceWriter writer)
    {
        for (var i = 0; i < pages.Length;)
        {
            (_sample, _sampleLost) = (segment, lost);
            while (i < pages.Length && _queue.Add(pages[i], 1, new BufferPlace(segment, i * VirtualPage.Size)) == 1) i++;
            if (i < pages.Length) Flush(buffer, writer);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _crew.End(_queue);
        _memory.Dispose();
    }

    // Returns the pages asked for, but for the sample.
    private ulong FinishRound(Action<VirtualPage, int> lost)
    {
        _queue.Complete(_ask);
        ulong pages = 0;
        foreach (ref readonly var batch in _queue.Batches)
        {
            var isSample = ReferenceEquals(batch.Segment, _sample);
            if (!isSample) pages += (ulong)batch.Bytes / VirtualPage.Size;
            if (batch.Result != batch.Bytes) Repair(batch, isSample ? _sampleLost : lost);
        }

        _queue.Reset();
        return pages;
    }

    private void Enqueue(VirtualPage first, int pages, BufferPlace place, PageBuffer buffer, ISpaceWriter writer)
    {
        while (true)
        {
            var taken = _queue.Add(first, pages, place);
            if (taken == pages) return;
            Flush(buffer, writer);
            first += (ulong)taken;
            pages -= taken;
            place = place with { Offset = place.Offset + taken * VirtualPage.Size };
        }
    }

    private void CopyForced(VirtualPage first, int pages, in BufferPlace place, PageBuffer buffer, ISpaceWriter writer)
    {
        var destination = place.Segment.GetSpan().Slice(place.Offset, pages * VirtualPage.Size);
        while (!destination.IsEmpty)
        {
            _ask();
            var done = Check(_memory.TryReadForced(first.Address, destination), first);
            var whole = Math.Max(0, done) / VirtualPage.Size;
            PagesRead += (ulong)whole;
            destination = destination[(whole * VirtualPage.Size)..];
            first += (ulong)whole;
            if (whole > 0 || destination.IsEmpty) continue;
            // The page at the front is the one that stopped it.
            PagesRead++;
            ReadOne(first, destination[..VirtualPage.Size], (page, error) => Lose(page, error, buffer, writer));
            destination = destination[VirtualPage.Size..];
            first += 1;
        }
    }

    // A batch that was cut short: page by page the other way, from the first page that did not make it on.
    private void Repair(in CopyBatch batch, Action<VirtualPage, int> lost)
    {
        if (batch.Result < 0 && -batch.Result is not (Errno.EFAULT or Errno.EIO or Errno.EPERM))
            throw new LinuxException("process_vm_readv", (int)-batch.Result, $"pid {_pid} at 0x{_queue.SpansOf(batch)[0].Address:x}");
        var whole = Math.Max(0, batch.Result) & ~(VirtualPage.Size - 1L);
        var destination = batch.Segment.GetSpan().Slice(batch.Offset, batch.Bytes);
        long at = 0;
        foreach (ref readonly var span in _queue.SpansOf(batch))
            for (ulong i = 0; i < span.LengthBytes; i += VirtualPage.Size, at += VirtualPage.Size)
                if (at >= whole)
                    ReadOne(VirtualPage.Of(span.Address + i), destination.Slice((int)at, VirtualPage.Size), lost);
    }

    private void ReadOne(VirtualPage page, Span<byte> destination, Action<VirtualPage, int> lost)
    {
        var n = Check(_memory.TryReadForced(page.Address, destination), page);
        if (n != VirtualPage.Size) lost(page, n < 0 ? -n : Errno.EIO);
    }

    // 0 is the kernel's word for an address space that is gone (mem_rw, fs/proc/base.c); an unreadable page is EIO.
    private int Check(int n, VirtualPage at) =>
        n is 0 or -Errno.ESRCH ? throw new LinuxException("pread", Errno.ESRCH, $"/proc/{_pid}/mem at 0x{at.Address:x}") : n;

    private void Lose(VirtualPage page, int error, PageBuffer buffer, ISpaceWriter writer)
    {
        PagesRead--;
        Unreadable.Add(new UnreadablePage(page, error));
        buffer.Remove(writer, page);
    }
}
