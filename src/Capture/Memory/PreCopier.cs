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
/// <param name="windows">Where they are read to then.</param>
/// <param name="held">Where pages wait until the freeze is over; null: none does.</param>
/// <param name="done">Told what was read.</param>
internal sealed class PreCopier(int pid, ISpaceWriter space, CopyWindows windows, HeldMemory? held, PreCopiedPages done) : IDisposable
{
    /// <summary>The most that is read at a time.</summary>
    public const int WindowBytes = WindowPages * VirtualPage.Size;

    private const int WindowPages = 2048;
    private const int SpansPerCall = 256;
    private readonly RemoteSpan[] _spans = new RemoteSpan[SpansPerCall];
    private readonly PagemapScanScanner _scanner = new(pid, KernelProbes.Current.PagemapScanCategories);
    private readonly RunList<PageRun> _unwritten = new(64);
    private readonly List<PageRange> _read = new(SpansPerCall); // of the window
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
    public void Dispose() => _scanner.Dispose();

    // Returns how many spans are done with.
    private int ReadSome(ReadOnlySpan<RemoteSpan> spans)
    {
        var wanted = 0;
        foreach (var span in spans) wanted += (int)span.LengthBytes;
        var place = default(BufferPlace);
        var hold = held?.TryTake(wanted, out place) == true;
        if (hold) return ReadSome(spans, wanted, place, loan: null);
        var (window, loan) = windows.Next();
        try
        {
            return ReadSome(spans, wanted, new BufferPlace(window, 0), loan);
        }
        finally
        {
            loan.Return();
        }
    }

    private int ReadSome(ReadOnlySpan<RemoteSpan> spans, int wanted, BufferPlace place, PageLoan? loan)
    {
        var read = RemoteMemory.TryRead(pid, spans, place.Segment.GetSpan().Slice(place.Offset, wanted));
        if (read < 0 && -read is not (Errno.EFAULT or Errno.EIO or Errno.EPERM))
            throw new LinuxException("process_vm_readv", (int)-read, $"pid {pid} at 0x{spans[0].Address:x}");
        var spansDone = 0;
        var offset = 0;
        foreach (var span in spans)
        {
            spansDone++;
            var whole = (int)Math.Clamp((read < 0 ? 0 : read) - offset, 0, (long)span.LengthBytes) / VirtualPage.Size * VirtualPage.Size;
            if (whole > 0) _read.Add(new PageRange(VirtualPage.Of(span.Address), (ulong)(whole / VirtualPage.Size)));
            offset += whole;
            if (whole < (int)span.LengthBytes) break; // the rest of this one is left to the freeze
        }

        if (_read.Count > 0) Save(place, offset, loan);
        _read.Clear();
        return spansDone;
    }

    private void Save(BufferPlace place, int bytes, PageLoan? loan)
    {
        if (loan is not null) Store(place.Segment.Memory.Slice(place.Offset, bytes), loan);
        foreach (var run in _read)
        {
            if (loan is null) done.AddHeld(run.Start, (int)run.Count, place);
            else done.AddStored(run.Start, place.Segment.GetSpan().Slice(place.Offset, (int)run.SizeBytes));
            place = place with { Offset = place.Offset + (int)run.SizeBytes };
        }
    }

    private void Store(ReadOnlyMemory<byte> content, PageLoan loan)
    {
        if (held is null)
        {
            space.SetContent(_read, content, loan);
        }
        else
        {
            lock (held.Storing) space.SetContent(_read, content, loan);
        }
    }
}
