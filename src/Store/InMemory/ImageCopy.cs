using Crstore.Model;
using Crstore.Store.PageMaps;

namespace Crstore.Store.InMemory;

/// <summary>
/// Copies the pages of a committed checkpoint into one that is being written, as the page map has them: what is zero, excluded or absent stays so. Nothing is
/// kept from a parent: each page is read, checked, and known again by its content.
/// </summary>
internal sealed class ImageCopy(ICheckpointImage image, ICheckpointWriter writer, IProgress<StoreProgress>? progress, CancellationToken cancel)
{
    private const int WindowPages = 16384; // 64 MiB: the pages of a frame are scattered in a chain, and each call unpacks a frame once

    private readonly List<PageTarget> window = [];
    private readonly ulong total = image.Manifest.Header.Pages?.Logical ?? 0;
    private byte[] buffer = []; // not the thread's FrameScratch, into which the writer unpacks anchors
    private int filled;
    private ulong done;

    /// <summary>Copies all address spaces.</summary>
    public void Run()
    {
        buffer = GC.AllocateUninitializedArray<byte>((int)Math.Clamp(total, 1, WindowPages) * VirtualPage.Size);
        foreach (var process in image.Manifest.Body.Processes)
        {
            if (process.Zombie) continue;
            var id = new SpaceId(process.Space);
            var before = writer.Parent?.Body.Processes.FirstOrDefault(p => p.Pid == process.Pid && !p.Zombie);
            Copy(id, writer.OpenSpace(id, before is null ? null : new SpaceId(before.Space)));
        }
    }

    private void Copy(SpaceId id, ISpaceWriter space)
    {
        foreach (var span in image.Spans(id, PageMap.Everything))
        {
            cancel.ThrowIfCancellationRequested();
            switch (span.Kind)
            {
                case PageKind.Chunk: Read(id, space, span.Range); break;
                case PageKind.Zero: space.SetZero(span.Range); break;
                case PageKind.Excluded: space.SetExcluded(span.Range); break;
                default: break;
            }
        }

        Flush(id, space);
    }

    private void Read(SpaceId id, ISpaceWriter space, PageRange range)
    {
        while (!range.IsEmpty)
        {
            var room = buffer.Length / VirtualPage.Size - filled;
            if (room == 0)
            {
                Flush(id, space);
                continue;
            }

            var part = new PageRange(range.Start, Math.Min(range.Count, (ulong)room));
            window.Add(new PageTarget(part, buffer.AsMemory(filled * VirtualPage.Size, (int)part.SizeBytes)));
            filled += (int)part.Count;
            range = PageRange.Between(part.End, range.End);
        }
    }

    private void Flush(SpaceId id, ISpaceWriter space)
    {
        if (window.Count == 0) return;
        image.Read(id, window);
        foreach (var (range, pages, _) in window) space.SetContent(range.Start, pages);
        done += (ulong)filled;
        progress?.Report(new StoreProgress("copying", done * VirtualPage.Size, total * VirtualPage.Size));
        cancel.ThrowIfCancellationRequested();
        window.Clear();
        filled = 0;
    }
}
