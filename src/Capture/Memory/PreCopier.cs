using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>
/// Copies pages of a process that runs, and saves them. Whatever it writes meanwhile is torn, and known to its tracker, which was
/// armed before: the freeze that follows reads it again. Before each window is read the kernel is asked what of it is still watched,
/// there and unwritten: something else may be mapped at these addresses by now, and reading the holes of shared memory would fill them.
/// </summary>
/// <param name="pid">Process.</param>
/// <param name="space">Where pages go for which there is no room.</param>
/// <param name="held">Where pages wait until the freeze is over; null: none does.</param>
/// <param name="done">Told what was read.</param>
internal sealed class PreCopier(int pid, ISpaceWriter space, HeldMemory? held, PreCopiedPages done) : IDisposable
{
    /// <summary>The most that is read at a time.</summary>
    public const int WindowBytes = WindowPages * VirtualPage.Size;

    private const int WindowPages = 2048;
    private const int SpansPerCall = 256;
    private readonly MappedMemory _window = new(WindowBytes, huge: true);
    private readonly RemoteSpan[] _spans = new RemoteSpan[SpansPerCall];
    private readonly PagemapScanScanner _scanner = new(pid, KernelProbes.Current.PagemapScanCategories);
    private readonly RunList<PageRun> _unwritten = new(64);
    private int _count;
    private int _pages;

    /// <summary>Copies pages; in address order.</summary>
    public void Copy(PageRange range)
    {
        while (!range.IsEmpty)
        {
            var part = range with { Count = Math.Min(range.Count, WindowPages) };
            _unwritten.Clear();
            _scanner.ScanUnwritten(part, _unwritten);
            foreach (var run in _unwritten) Enqueue(run.Range);
            range = PageRange.Between(part.End, range.End);
        }
    }

    private void Enqueue(PageRange range)
    {
        while (!range.IsEmpty)
        {
            if (_pages == WindowPages || _count == SpansPerCall) Flush();
            var now = (int)Math.Min(range.Count, (ulong)(WindowPages - _pages));
            _spans[_count++] = new RemoteSpan(range.Start.Address, (ulong)now * VirtualPage.Size);
            _pages += now;
            range = new PageRange(range.Start + (ulong)now, range.Count - (ulong)now);
        }
    }

    /// <summary>Saves what is still under way.</summary>
    public void Flush()
    {
        for (var first = 0; first < _count;) first += ReadSome(_spans.AsSpan(first, _count - first));
        _count = _pages = 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _scanner.Dispose();
        ((IDisposable)_window).Dispose();
    }

    // Returns how many spans are done with.
    private int ReadSome(ReadOnlySpan<RemoteSpan> spans)
    {
        var wanted = 0;
        foreach (var span in spans) wanted += (int)span.LengthBytes;
        var place = default(BufferPlace);
        var hold = held?.TryTake(wanted, out place) == true;
        if (!hold) place = new BufferPlace(_window, 0);
        var read = RemoteMemory.TryRead(pid, spans, place.Segment.GetSpan().Slice(place.Offset, wanted));
        if (read < 0 && -read is not (Errno.EFAULT or Errno.EIO or Errno.EPERM))
            throw new LinuxException("process_vm_readv", (int)-read, $"pid {pid} at 0x{spans[0].Address:x}");
        var spansDone = 0;
        var offset = 0;
        foreach (var span in spans)
        {
            spansDone++;
            var whole = (int)Math.Clamp((read < 0 ? 0 : read) - offset, 0, (long)span.LengthBytes) / VirtualPage.Size * VirtualPage.Size;
            if (whole > 0) Save(VirtualPage.Of(span.Address), place with { Offset = place.Offset + offset }, whole, hold);
            offset += whole;
            if (whole < (int)span.LengthBytes) return spansDone; // the rest of this one is left to the freeze
        }

        return spansDone;
    }

    private void Save(VirtualPage first, in BufferPlace place, int bytes, bool hold)
    {
        if (hold)
        {
            done.AddHeld(first, bytes / VirtualPage.Size, place);
            return;
        }

        var content = place.Segment.Memory.Slice(place.Offset, bytes);
        if (held is null)
        {
            space.SetContent(first, content);
        }
        else
        {
            lock (held.Storing) space.SetContent(first, content);
        }

        done.AddStored(first, content.Span);
    }
}
