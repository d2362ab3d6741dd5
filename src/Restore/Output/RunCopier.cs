using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore;

/// <summary>Copies pages of a process into a file through one buffer of bounded size; zero pages stay holes.</summary>
internal sealed class RunCopier(IProgress<ulong>? bytesDone, CancellationToken cancel)
{
    private const int BufferPages = 8192; // 32 MiB: in a long chain, pages of one stored frame are scattered, and each Read unpacks it once

    private readonly byte[] buffer = new byte[BufferPages * VirtualPage.Size];

    /// <summary>Bytes of content written so far.</summary>
    internal ulong Bytes { get; private set; }

    /// <summary>Writes the pages of a range of a VMA, the first one at the given file offset. Missing pages are left out.</summary>
    internal void Copy(ProcessImage process, Vma vma, PageRange range, SparseFile file, ulong fileOffset)
    {
        foreach (var run in process.Runs(vma, range))
        {
            cancel.ThrowIfCancellationRequested();
            if (run.Content is not (ImageContent.Saved or ImageContent.File))
                continue;
            for (ulong done = 0; done < run.Range.Count; done += BufferPages)
            {
                cancel.ThrowIfCancellationRequested();
                var part = run with { Range = new PageRange(run.Range.Start + done, Math.Min(BufferPages, run.Range.Count - done)) };
                var bytes = buffer.AsSpan(0, (int)part.Range.SizeBytes);
                process.Read(vma, part, bytes);
                file.Write(bytes, fileOffset + (part.Range.Start.Address - range.Start.Address));
                Bytes += part.Range.SizeBytes;
                bytesDone?.Report(Bytes);
            }
        }
    }
}
