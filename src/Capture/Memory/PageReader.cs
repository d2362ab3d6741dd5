using System.Runtime.InteropServices;
using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>A page whose content could not be read, and why.</summary>
public readonly record struct UnreadablePage(VirtualPage Page, int ErrorNumber);

/// <summary>
/// Copies pages of one process: process_vm_readv in batches of up to 1024 runs, /proc/PID/mem for areas without PROT_READ and
/// for pages that the former refuses. Nothing is ever zero-filled silently: what can't be read is listed.
/// </summary>
public sealed class PageReader : IDisposable
{
    private const int BatchBytes = 16 << 20;
    private readonly int _pid;
    private readonly RemoteMemory _memory;
    private readonly RemoteSpan[] _spans = new RemoteSpan[RemoteMemory.MaxSpans];
    private Memory<byte> _place; // of the batch: consecutive in the buffer
    private int _count;
    private int _bytes;
    private bool _forced;

    /// <summary>Opens the process; its address space must be the one to read.</summary>
    /// <exception cref="LinuxException">Gone, or refused.</exception>
    public PageReader(int pid)
    {
        _pid = pid;
        _memory = RemoteMemory.Open(pid);
    }

    /// <summary>Pages that could not be read.</summary>
    public List<UnreadablePage> Unreadable { get; } = [];

    /// <summary>Asked before every batch; null outside a freeze.</summary>
    public FreezeWatchdog? Watchdog { get; init; }

    /// <summary>Pages read.</summary>
    public ulong PagesRead { get; private set; }

    /// <summary>Copies a run of pages into the buffer, draining it when it is full. The last batch waits for <see cref="Flush"/>.</summary>
    /// <param name="range">Pages.</param>
    /// <param name="forced">The VMA has no PROT_READ.</param>
    /// <param name="buffer">Where to.</param>
    /// <param name="writer">The space they belong to.</param>
    public void Copy(PageRange range, bool forced, PageBuffer buffer, ISpaceWriter writer)
    {
        while (!range.IsEmpty)
        {
            if (_count == _spans.Length || _bytes >= BatchBytes || (_count > 0 && _forced != forced)) Flush(buffer, writer);
            _forced = forced;
            var wanted = new PageRange(range.Start, Math.Min(range.Count, (ulong)(BatchBytes - _bytes) / VirtualPage.Size));
            var granted = buffer.Reserve(writer, wanted, out var place);
            if (granted == 0)
            {
                Flush(buffer, writer);
                buffer.Drain();
                continue;
            }

            if (_count > 0 && !IsBehind(place))
                granted = Restart(buffer, writer, granted);
            Add(range.Start, granted, place);
            range = new PageRange(range.Start + (ulong)granted, range.Count - (ulong)granted);
        }
    }

    /// <summary>Reads the batch that waits.</summary>
    /// <exception cref="LinuxException">The process is gone.</exception>
    public void Flush(PageBuffer buffer, ISpaceWriter writer)
    {
        if (_count == 0) return;
        Watchdog?.ThrowIfExpired();
        var destination = _place.Span[.._bytes];
        var spans = _spans.AsSpan(0, _count);
        _count = 0;
        _bytes = 0;
        while (!spans.IsEmpty)
        {
            var done = _forced ? ReadForced(spans[0], destination) : _memory.TryRead(spans, destination);
            if (done < 0 && -done is not (Errno.EFAULT or Errno.EIO or Errno.EPERM))
                throw new LinuxException(_forced ? "pread" : "process_vm_readv", (int)-done, $"pid {_pid} at 0x{spans[0].Address:x}");
            var whole = Math.Max(0, done) & ~(VirtualPage.Size - 1L);
            PagesRead += (ulong)whole / VirtualPage.Size;
            destination = destination[(int)whole..];
            spans = Advance(spans, (ulong)whole);
            if (spans.IsEmpty || (whole > 0 && _forced)) continue;
            // The page at the front is the one that stopped it.
            ReadOne(VirtualPage.Of(spans[0].Address), destination[..VirtualPage.Size], buffer, writer);
            destination = destination[VirtualPage.Size..];
            spans = Advance(spans, VirtualPage.Size);
        }
    }

    /// <summary>Reads single pages for the lie check; false if one can't be read.</summary>
    /// <exception cref="LinuxException">The process is gone.</exception>
    public bool TryReadPage(VirtualPage page, Span<byte> destination) => ReadPage(page, destination[..VirtualPage.Size]) == VirtualPage.Size;

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    private void ReadOne(VirtualPage page, Span<byte> destination, PageBuffer buffer, ISpaceWriter writer)
    {
        var n = ReadPage(page, destination);
        if (n == VirtualPage.Size)
        {
            PagesRead++;
            return;
        }

        Unreadable.Add(new UnreadablePage(page, n < 0 ? -n : Errno.EIO));
        buffer.Remove(writer, page);
    }

    // 0 is the kernel's word for an address space that is gone (mem_rw, fs/proc/base.c); an unreadable page is EIO.
    private int ReadPage(VirtualPage page, Span<byte> destination)
    {
        var n = _memory.TryReadForced(page.Address, destination);
        return n is 0 or -Errno.ESRCH ? throw new LinuxException("pread", Errno.ESRCH, $"/proc/{_pid}/mem at 0x{page.Address:x}") : n;
    }

    private long ReadForced(in RemoteSpan span, Span<byte> destination) =>
        _memory.TryReadForced(span.Address, destination[..(int)span.LengthBytes]);

    // A batch is one stretch of the buffer. When the next place is elsewhere (a new segment), what waits is read first.
    private int Restart(PageBuffer buffer, ISpaceWriter writer, int granted)
    {
        Flush(buffer, writer);
        return granted;
    }

    private void Add(VirtualPage first, int pages, Memory<byte> place)
    {
        if (_count == 0)
        {
            _place = place;
        }
        else
        {
            MemoryMarshal.TryGetMemoryManager<byte, MappedMemory>(_place, out var segment, out var start, out _);
            _place = segment!.Memory.Slice(start, _bytes + place.Length);
        }

        _spans[_count++] = new RemoteSpan(first.Address, (ulong)place.Length);
        _bytes += pages * VirtualPage.Size;
    }

    private bool IsBehind(Memory<byte> place) =>
        MemoryMarshal.TryGetMemoryManager<byte, MappedMemory>(_place, out var mine, out var start, out _)
        && MemoryMarshal.TryGetMemoryManager<byte, MappedMemory>(place, out var other, out var at, out _)
        && ReferenceEquals(mine, other) && start + _bytes == at;

    private static Span<RemoteSpan> Advance(Span<RemoteSpan> spans, ulong bytes)
    {
        while (bytes > 0)
        {
            if (bytes < spans[0].LengthBytes)
            {
                spans[0] = new RemoteSpan(spans[0].Address + bytes, spans[0].LengthBytes - bytes);
                return spans;
            }

            bytes -= spans[0].LengthBytes;
            spans = spans[1..];
        }

        return spans;
    }
}
