using System.Collections.Concurrent;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.PageMaps;
using Crstore.Store.Reading;

namespace Crstore.Store;

/// <summary>
/// Any page of one checkpoint. A range is read frame by frame in stored order, each frame once: frames are fetched,
/// unpacked and checked on all cores, some at a time, and then copied out. Large ranges share frames best.
/// </summary>
internal sealed class CheckpointImage(StoreReader reader, CheckpointManifest manifest) : ICheckpointImage
{
    private const int WindowFrames = 64;
    private readonly FrameCache frames = new(reader.Database);
    private readonly ConcurrentDictionary<SpaceId, PageMap?> maps = new();
    private bool disposed;

    /// <inheritdoc/>
    public CheckpointManifest Manifest => manifest;

    /// <summary>Frames fetched so far, those again that the cache had lost.</summary>
    internal long FramesFetched => frames.Fetched;

    /// <inheritdoc/>
    public IEnumerable<PageSpan> Spans(SpaceId space, PageRange within)
    {
        if (Map(space) is not { } map) yield break;
        PageSpan? last = null;
        foreach (var run in map.Spans(within))
        {
            // Runs end where locations jump; a caller sees kinds alone.
            if (last is { } l && l.Kind == run.Kind && l.Range.End == run.Range.Start)
            {
                last = new PageSpan(new PageRange(l.Range.Start, l.Range.Count + run.Range.Count), run.Kind);
                continue;
            }

            if (last is { } done) yield return done;
            last = new PageSpan(run.Range, run.Kind);
        }

        if (last is { } rest) yield return rest;
    }

    /// <inheritdoc/>
    public void Read(SpaceId space, PageRange range, Span<byte> destination)
    {
        if ((ulong)destination.Length != range.SizeBytes) throw new ArgumentException($"{destination.Length} bytes for {range}", nameof(destination));
        destination.Clear();
        if (range.IsEmpty || Map(space) is not { } map) return;
        var pieces = Pieces(map, range);
        pieces.Sort(); // by frame: in a long chain, a frame has pages all over the range
        var window = new List<Range>(WindowFrames);
        for (var first = 0; first < pieces.Count;)
        {
            var end = first + 1;
            while (end < pieces.Count && pieces[end].Frame == pieces[first].Frame) end++;
            window.Add(first..end);
            first = end;
            if (window.Count < WindowFrames && end < pieces.Count) continue;
            CopyOut(space, pieces, window, range.Start, destination);
            window.Clear();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (disposed) return;
        disposed = true;
        reader.Release();
    }

    private PageMap? Map(SpaceId space)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        return maps.GetOrAdd(space, s => reader.Segments.Open(manifest.Crid, s) ?? (
            manifest.Body.Processes.Any(p => p.Space == s.Value && !p.Zombie)
                ? throw new StoreDamagedException($"CRID {manifest.Crid}, space {s}: its page-map root is missing") : null));
    }

    private static List<Piece> Pieces(PageMap map, PageRange range)
    {
        var pieces = new List<Piece>();
        foreach (var run in map.Spans(range))
        {
            if (run.Kind != PageKind.Chunk) continue;
            for (ulong done = 0; done < run.Range.Count;)
            {
                var location = run.First with { Ordinal = (uint)(run.First.Ordinal + done) };
                var count = (int)Math.Min(run.Range.Count - done, (ulong)(ChunkLocation.SlotsPerFrame - location.Slot));
                pieces.Add(new Piece(FrameId.Of(location), location.Slot, count, run.Range.Start + done));
                done += (ulong)count;
            }
        }

        return pieces;
    }

    /// <summary>Copies the pieces of some frames, each of which is a range of <paramref name="pieces"/>.</summary>
    private void CopyOut(SpaceId space, List<Piece> pieces, List<Range> window, VirtualPage start, Span<byte> destination)
    {
        var fetched = new FrameReader?[window.Count];
        if (window.Count >= 4) AllCores.For(0, window.Count, i => fetched[i] = TryFetch(pieces, window[i]));
        for (var i = 0; i < window.Count; i++)
        {
            for (var p = window[i].Start.Value; p < window[i].End.Value; p++)
            {
                var piece = pieces[p];
                var page = piece.Page;
                try
                {
                    var frame = fetched[i] ??= frames.Get(piece.Frame);
                    for (var slot = piece.Slot; slot < piece.Slot + piece.Count; slot++, page += 1)
                        frame.Page(slot).CopyTo(destination[(int)((page.Number - start.Number) * VirtualPage.Size)..]);
                }
                catch (StoreDamagedException e)
                {
                    throw new StoreDamagedException($"CRID {manifest.Crid}, process {PidOf(space)}, page {page}: {e.Message}", e.Hint, e);
                }
            }
        }
    }

    /// <summary>Fetches and checks on another core; null on damage, which the copying then meets and reports by page.</summary>
    private FrameReader? TryFetch(List<Piece> pieces, Range ofFrame)
    {
        try
        {
            var frame = frames.Get(pieces[ofFrame.Start].Frame);
            for (var p = ofFrame.Start.Value; p < ofFrame.End.Value; p++)
                for (var slot = pieces[p].Slot; slot < pieces[p].Slot + pieces[p].Count; slot++) frame.Page(slot);
            return frame;
        }
        catch (StoreDamagedException)
        {
            return null;
        }
    }

    private string PidOf(SpaceId space) =>
        manifest.Body.Processes.FirstOrDefault(p => p.Space == space.Value && !p.Zombie) is { } process ? $"{process.Pid} (space {space})" : $"of space {space}";

    /// <summary>Consecutive slots of a frame and their first page; ordered by frame, then by page.</summary>
    private readonly record struct Piece(FrameId Frame, int Slot, int Count, VirtualPage Page) : IComparable<Piece>
    {
        public int CompareTo(Piece other) =>
            Frame.Crid != other.Frame.Crid ? Frame.Crid.CompareTo(other.Frame.Crid) :
            Frame.Number != other.Frame.Number ? Frame.Number.CompareTo(other.Frame.Number) : Page.Number.CompareTo(other.Page.Number);
    }
}
