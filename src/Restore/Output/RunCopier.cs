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
    private const int WindowWrites = 1024; // so many files may be open at a time

    private readonly WindowWriter writer = new(cancel);
    private readonly List<PageTarget> targets = [];
    private Window? window;
    private ProcessImage? source;

    /// <summary>Pages that are still in their files are copied from there; else they are left out.</summary>
    internal bool FilePages { get; init; } = true;

    /// <summary>Nothing is written before it is set; two windows may be read by then.</summary>
    internal ManualResetEventSlim? MayWrite { init => writer.MayWrite = value; }

    /// <summary>Bytes of content copied so far.</summary>
    internal ulong Bytes { get; private set; }

    /// <summary>Creates a file to copy to; <see cref="Finish"/> closes it.</summary>
    internal SparseFile Create(string path) => writer.Track(SparseFile.Create(path));

    /// <summary>Copies the pages of a range of a VMA, the first one to the given offset or address. Missing pages are left out.</summary>
    internal void Copy(ProcessImage process, Vma vma, PageRange range, IPageSink file, ulong fileOffset)
    {
        if (process != source) Flush();
        source = process;
        foreach (var run in process.Runs(vma, range))
        {
            cancel.ThrowIfCancellationRequested();
            if (run.Content != ImageContent.Saved && (run.Content != ImageContent.File || !FilePages))
                continue;
            for (ulong done = 0; done < run.Range.Count;)
            {
                var open = window ??= writer.Free();
                var count = Math.Min(run.Range.Count - done, (ulong)(WindowPages - open.Pages));
                var part = new PageRange(run.Range.Start + done, count);
                var memory = open.Add(file, fileOffset + (part.Start.Address - range.Start.Address), (int)count);
                if (run.Content == ImageContent.Saved) targets.Add(new PageTarget(part, memory));
                else process.ReadFile(vma, part, memory.Span);
                done += count;
                Bytes += part.SizeBytes;
                if (open.Pages == WindowPages || open.Writes >= WindowWrites) Flush();
            }
        }
    }

    /// <summary>Gives a file its size, so that a hole may stand at the end, and closes it, once everything is in it.</summary>
    internal void Finish(SparseFile file, ulong sizeBytes)
    {
        window ??= writer.Free();
        window.AddEnd(file, sizeBytes);
        if (window.Writes >= WindowWrites) Flush();
    }

    /// <summary>Returns when everything is written.</summary>
    internal void Complete()
    {
        Flush();
        writer.Complete();
    }

    /// <summary>Ends the writing, done or not, and closes the files.</summary>
    public void Dispose() => writer.Dispose();

    private void Flush()
    {
        if (window is not { } full) return;
        cancel.ThrowIfCancellationRequested();
        if (targets.Count > 0) source!.ReadSaved(targets);
        targets.Clear();
        cancel.ThrowIfCancellationRequested();
        window = null;
        writer.Write(full);
        bytesDone?.Report(Bytes);
    }

    /// <summary>Memory for some pages, and what is to be done with it.</summary>
    internal sealed class Window : IDisposable
    {
        private readonly MappedMemory memory = new(WindowPages * VirtualPage.Size, huge: true);
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
