using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore;

/// <summary>
/// Copies pages of processes into files; zero pages stay holes. Runs of many VMAs and files are gathered in a window that is
/// read at once, since in a long chain the pages of one stored frame are scattered; while one window is being read, the one
/// before it is being written.
/// </summary>
internal sealed class RunCopier(IProgress<ulong>? bytesDone, CancellationToken cancel) : IDisposable
{
    // 64 MiB, twice. After many increments the pages of a stored frame lie far apart, and each window unpacks it anew: with 8 MiB the
    // last CRID of a chain changed at random took 1.4 times as long as the first, with 64 MiB 1.2. The first loses nothing by it.
    private const int WindowPages = 16384;
    private const int EarlyPages = 4096;     // in a window that is only for what is read before anything may be written
    private const ulong ReportBytes = 16 << 20;
    private const int StraightPages = 131072; // read at once without memory for them
    private const int WindowWrites = 1024; // so many files may be open at a time

    private WindowWriter? writer;
    private readonly List<PageTarget> targets = [];
    private ulong straight; // pages among the targets
    private ulong received; // bytes that went straight
    private Window? window;
    private ProcessImage? source;

    /// <summary>Pages that are still in their files are copied from there; else they are left out.</summary>
    internal bool FilePages { get; init; } = true;

    /// <summary>Nothing is written before it is set; two windows may be read by then.</summary>
    internal ManualResetEventSlim? MayWrite { private get; init; }

    /// <summary>
    /// As soon as it may be written, each page goes to its sink from the thread that has unpacked it, without a window: for sinks that many
    /// threads may write to at once.
    /// </summary>
    internal bool Straight { get; init; }

    /// <summary>Bytes of content copied so far.</summary>
    internal ulong Bytes { get; private set; }

    /// <summary>Creates a file to copy to; <see cref="Finish"/> closes it.</summary>
    internal SparseFile Create(string path) => Writer.Track(SparseFile.Create(path));

    /// <summary>Copies the pages of a range of a VMA, the first one to the given offset or address. Missing pages are left out.</summary>
    internal void Copy(ProcessImage process, Vma vma, PageRange range, IPageSink file, ulong fileOffset)
    {
        if (process != source) Flush();
        source = process;
        Receiver? receiver = null;
        foreach (var run in process.Runs(vma, range))
        {
            cancel.ThrowIfCancellationRequested();
            if (run.Content != ImageContent.Saved && (run.Content != ImageContent.File || !FilePages))
                continue;
            for (ulong done = 0; done < run.Range.Count;)
            {
                var goesStraight = Straight && MayWrite?.IsSet != false && run.Content == ImageContent.Saved;
                var open = goesStraight ? null : window ??= Writer.Free();
                var room = open is null ? StraightPages - straight : (ulong)(WindowSize - open.Pages);
                var part = new PageRange(run.Range.Start + done, Math.Min(run.Range.Count - done, room));
                var at = fileOffset + (part.Start.Address - range.Start.Address);
                if (open is null)
                {
                    targets.Add(new PageTarget(part, default, receiver ??= new Receiver(this, file, unchecked(fileOffset - range.Start.Address))));
                    straight += part.Count;
                }
                else
                {
                    var memory = open.Add(file, at, (int)part.Count);
                    if (run.Content == ImageContent.Saved) targets.Add(new PageTarget(part, memory));
                    else process.ReadFile(vma, part, memory.Span);
                }

                done += part.Count;
                Bytes += part.SizeBytes;
                if (straight == StraightPages || open?.Pages == WindowSize || open?.Writes >= WindowWrites) Flush();
            }
        }
    }

    /// <summary>Gives a file its size, so that a hole may stand at the end, and closes it, once everything is in it.</summary>
    internal void Finish(SparseFile file, ulong sizeBytes)
    {
        window ??= Writer.Free();
        window.AddEnd(file, sizeBytes);
        if (window.Writes >= WindowWrites) Flush();
    }

    /// <summary>Returns when everything is written.</summary>
    internal void Complete()
    {
        Flush();
        writer?.Complete();
    }

    /// <summary>Ends the writing, done or not, and closes the files.</summary>
    public void Dispose() => writer?.Dispose();

    private WindowWriter Writer => writer ??= new WindowWriter(WindowSize, MayWrite, cancel);

    private int WindowSize => Straight ? EarlyPages : WindowPages;

    private void Flush()
    {
        if (window is null && targets.Count == 0) return;
        cancel.ThrowIfCancellationRequested();
        if (targets.Count > 0) source!.ReadSaved(targets);
        targets.Clear();
        straight = 0;
        cancel.ThrowIfCancellationRequested();
        if (window is { } full)
        {
            window = null;
            Writer.Write(full);
        }

        received = Bytes;
        bytesDone?.Report(Bytes);
    }

    // A read may be of half a gigabyte: whoever looks on, or wants to end it, doesn't wait for that.
    private void Note(int bytes)
    {
        cancel.ThrowIfCancellationRequested();
        var now = Interlocked.Add(ref received, (ulong)bytes);
        if (now / ReportBytes != (now - (ulong)bytes) / ReportBytes) bytesDone?.Report(now);
    }

    /// <summary>Gives pages to a sink.</summary>
    private sealed class Receiver(RunCopier copier, IPageSink sink, ulong shift) : IPageReceiver
    {
        public void Receive(VirtualPage first, ReadOnlySpan<byte> pages)
        {
            sink.Write(pages, unchecked(first.Address + shift));
            copier.Note(pages.Length);
        }
    }

    /// <summary>Memory for some pages, and what is to be done with it.</summary>
    internal sealed class Window(int capacity) : IDisposable
    {
        private readonly MappedMemory memory = new(capacity * VirtualPage.Size, huge: true);
        private readonly List<(IPageSink Sink, ulong At, int Place, int Size)> writes = []; // no size: the file ends at At

        /// <summary>Pages in it.</summary>
        public int Pages { get; private set; }

        /// <summary>Writes and ends of files in it.</summary>
        public int Writes => writes.Count;

        /// <summary>Memory for pages that will be written there.</summary>
        public Memory<byte> Add(IPageSink sink, ulong at, int pages)
        {
            var (place, size) = (Pages * VirtualPage.Size, pages * VirtualPage.Size);
            Pages += pages;
            if (writes is [.., var last] && last.Size > 0 && last.Sink == sink && last.At + (ulong)last.Size == at)
                writes[^1] = last with { Size = last.Size + size };
            else
                writes.Add((sink, at, place, size));
            return memory.Memory.Slice(place, size);
        }

        /// <summary>The file has that size, and nothing more is written to it.</summary>
        public void AddEnd(SparseFile file, ulong sizeBytes) => writes.Add((file, sizeBytes, 0, 0));

        /// <summary>Writes everything; it is empty afterwards.</summary>
        /// <param name="ended">Told of each file that has ended.</param>
        public void WriteOut(Action<SparseFile> ended)
        {
            foreach (var (sink, at, place, size) in writes)
            {
                if (size > 0)
                {
                    sink.Write(memory.GetSpan().Slice(place, size), at);
                    continue;
                }
                var file = (SparseFile)sink;
                file.SetLength(at);
                ended(file);
            }
            writes.Clear();
            Pages = 0;
        }

        /// <inheritdoc/>
        public void Dispose() => ((IDisposable)memory).Dispose();
    }
}
