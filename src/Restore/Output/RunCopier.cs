using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore;

/// <summary>
/// Copies pages of processes into files or memory; zero pages stay holes. Runs of many VMAs and files are read at once, since in a long
/// chain the pages of one stored frame are scattered; each page goes to its sink from the thread that has unpacked it, while it is in
/// that processor's cache. What can't go there yet, and pages that come from mapped files, are gathered in windows.
/// </summary>
internal sealed class RunCopier(IProgress<ulong>? bytesDone, CancellationToken cancel) : IDisposable
{
    // 512 MiB. After many increments the pages of a stored frame lie far apart, and each read unpacks it anew. It takes no memory for the
    // pages, but up to 200 bytes for each that is a patch.
    private const int PagesAtOnce = 131072;
    private const int WindowPages = 4096;  // 16 MiB, twice
    private const ulong ReportBytes = 16 << 20;
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
                var goesStraight = MayWrite?.IsSet != false && run.Content == ImageContent.Saved;
                var open = goesStraight ? null : window ??= Writer.Free();
                var room = open is null ? PagesAtOnce - straight : (ulong)(WindowPages - open.Pages);
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
                if (straight == PagesAtOnce || open?.Pages == WindowPages || open?.Writes >= WindowWrites) Flush();
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

    private WindowWriter Writer => writer ??= new WindowWriter(WindowPages, MayWrite, cancel);

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
