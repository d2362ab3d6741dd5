using System.Runtime.InteropServices;
using Crstore.Capture.Memory;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;

namespace Crstore.Capture.Tracking;

/// <summary>
/// Notices memory that mremap moved. The kernel moves a whole page table (2 MiB, aligned at both ends) at once, and up to
/// kernel 6.18 the soft-dirty bits in it stay clear: memory moved over an older mapping would read as unchanged. So one
/// page's frame number is remembered per 2 MiB block; a block where it is another one now is read in full. What is moved
/// brings its own frames along, so it cannot have the frame of the memory that it replaced.
/// </summary>
/// <param name="record">Says where the frames are kept, and which bump they belong to; null in a rehearsal.</param>
public sealed class FrameWitness(ContinuityRecord? record) : IDisposable
{
    private const int BlockShift = 21 - VirtualPage.Shift; // pages per page table: 512
    private const int NonceBytes = 32;

    private readonly Dictionary<ulong, Frame> _known = [];
    private readonly Dictionary<ulong, Frame> _found = new(4096);
    private readonly RunList<PageRun> _split = new(4096);
    private Pagemap? _pagemap;
    private ulong _lastBlock = ulong.MaxValue;
    private bool _lastStayed;

    /// <summary>Before the freeze: what the last capture remembered, if nothing came between.</summary>
    public void Load()
    {
        if (record is null || record.Nonce.Length != NonceBytes) return;
        if (RawFile.TryOpen(record.FramesPath, RawOpen.NoFollow, 0, out var file) != 0) return; // none: every block is read once
        using (file)
        {
            var content = new byte[(int)Math.Min(FileStatus.Of(file!).SizeBytes, int.MaxValue)];
            var length = FileCalls.ReadAt(file!, content, 0, record.FramesPath);
            if (length < NonceBytes || !content.AsSpan(0, NonceBytes).SequenceEqual(System.Text.Encoding.ASCII.GetBytes(record.Nonce))) return;
            foreach (var frame in MemoryMarshal.Cast<byte, Frame>(content.AsSpan(NonceBytes, length - NonceBytes)))
                _known[frame.Page >> BlockShift] = frame;
        }
    }

    /// <summary>In the freeze.</summary>
    public void Begin(int pid)
    {
        _pagemap = Pagemap.Open(pid);
        _found.Clear();
        _lastBlock = ulong.MaxValue;
    }

    /// <summary>Marks as written, in a VMA's runs, every block that is not proven to have stayed in its place; remembers the frames of now.</summary>
    public void Check(PlannedVma vma, RunList<PageRun> runs)
    {
        // Every block, be it covered in part only: mremap widens what it moves down to the start of a block (since 6.7), and what
        // was moved as a whole may have been split or cut since. A block has one page table, so one witness serves all VMAs in it.
        _split.Clear();
        foreach (var run in runs)
        {
            var rest = run.Range;
            while (!rest.IsEmpty)
            {
                var block = rest.Start.Number >> BlockShift;
                var part = rest.Intersect(new PageRange(new VirtualPage(block << BlockShift), 512));
                var moved = !StayedInPlace(block, part, run.Flags);
                RunBuilder.Append(_split, part, moved ? run.Flags | PageCategories.SoftDirty : run.Flags);
                rest = PageRange.Between(part.End, rest.End);
            }
        }

        runs.Clear();
        runs.AddRange(_split);
    }

    /// <summary>After the thaw: keeps the frames for the next capture.</summary>
    public void Save()
    {
        if (record is null) return;
        var content = new byte[NonceBytes + _found.Count * Marshal.SizeOf<Frame>()];
        System.Text.Encoding.ASCII.GetBytes(record.NextNonce, content);
        var frames = MemoryMarshal.Cast<byte, Frame>(content.AsSpan(NonceBytes));
        var i = 0;
        foreach (var frame in _found.Values) frames[i++] = frame;
        using var file = RawFile.Open(record.FramesPath, RawOpen.ReadWrite | RawOpen.Create | RawOpen.NoFollow, 0x180 /* 0600 */);
        FileCalls.SetLength(file, 0, record.FramesPath);
        FileCalls.WriteAt(file, content, 0, record.FramesPath);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _pagemap?.Dispose();
        _pagemap = null;
    }

    private bool StayedInPlace(ulong block, PageRange part, PageCategories flags)
    {
        if (block != _lastBlock)
        {
            _lastBlock = block;
            _lastStayed = _known.TryGetValue(block, out var known) && FrameAt(known.Page) == known.Number;
            if (_lastStayed) _found[block] = known;
        }

        if (_lastStayed) return true;
        // The next capture compares with the first page here that has a frame of its own.
        const PageCategories notOwn = PageCategories.ZeroFrame | PageCategories.File;
        if ((flags & PageCategories.Present) != 0 && (flags & notOwn) == 0 && !_found.ContainsKey(block)
            && FrameAt(part.Start.Number) is var number and not 0)
            _found[block] = new Frame(part.Start.Number, number);
        return false;
    }

    private ulong FrameAt(ulong page)
    {
        Span<ulong> entry = stackalloc ulong[1];
        return _pagemap!.Read(new VirtualPage(page), entry) == 1 ? new PagemapEntry(entry[0]).FrameNumber : 0;
    }

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Frame(ulong Page, ulong Number);
}
