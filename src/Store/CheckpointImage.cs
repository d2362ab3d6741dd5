using System.Collections.Concurrent;
using Crstore.Model;
using Crstore.Store.PageMaps;
using Crstore.Store.Reading;

namespace Crstore.Store;

/// <summary>
/// Any page of one checkpoint. What is read in one call is read frame by frame in stored order, each frame once, on all
/// cores (<see cref="PieceReader"/>). Large calls share frames best.
/// </summary>
internal sealed class CheckpointImage(StoreReader reader, CheckpointManifest manifest) : ICheckpointImage
{
    private readonly PieceReader frames = new(reader.Database);
    private readonly ConcurrentDictionary<SpaceId, PageMap?> maps = new();
    private Pieces? idle;
    private ulong read; // chunk pages so far
    private bool disposed;

    /// <inheritdoc/>
    public CheckpointManifest Manifest => manifest;

    /// <summary>Frames and patch groups fetched so far, once for each call that wants something of them.</summary>
    internal long FramesFetched => frames.Fetched;

    /// <inheritdoc/>
    public IEnumerable<PageSpan> Spans(SpaceId space, PageRange within)
    {
        if (Map(space) is not { } map) yield break;
        map.LoadAhead(within);
        PageSpan? last = null;
        foreach (var run in map.Kinds(within))
        {
            // A segment ends, and so does what it says, where the next one may go on.
            if (last is { } l && l.Kind == run.Kind && l.Range.End == run.Range.Start)
            {
                last = new PageSpan(new PageRange(l.Range.Start, l.Range.Count + run.Range.Count), run.Kind);
                continue;
            }

            if (last is { } done) yield return done;
            last = run;
        }

        if (last is { } rest) yield return rest;
    }

    /// <inheritdoc/>
    public void Read(SpaceId space, IReadOnlyList<PageTarget> targets)
    {
        var map = Map(space);
        var pieces = Interlocked.Exchange(ref idle, null) ?? new Pieces(); // two reads at once: one makes its own
        try
        {
            ulong pages = 0;
            for (var i = 0; i < targets.Count; i++) pages += targets[i].Range.Count;
            pieces.Clear(pages);
            for (var i = 0; i < targets.Count; i++)
            {
                var (range, destination, receiver) = targets[i];
                if ((ulong)destination.Length != (receiver is null ? range.SizeBytes : 0)) throw new ArgumentException($"{destination.Length} bytes for {range}", nameof(targets));
                if (map is null) destination.Span.Clear();
                else Plan(map, targets[i], i, pieces);
            }

            var more = Interlocked.Add(ref read, pieces.Pages) < manifest.Header.Pages.Logical; // will follow: windows of an image that is read once
            frames.Read(pieces, targets, more, (page, e) => Damaged(space, page, e));
        }
        finally
        {
            Interlocked.Exchange(ref idle, pieces)?.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (disposed) return;
        disposed = true;
        frames.Dispose();
        Interlocked.Exchange(ref idle, null)?.Dispose();
        reader.Release();
    }

    private PageMap? Map(SpaceId space)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        return maps.GetOrAdd(space, s => reader.Segments.Open(manifest.Crid, s) ?? (
            manifest.Body.Processes.Any(p => p.Space == s.Value && !p.Zombie)
                ? throw new StoreDamagedException($"CRID {manifest.Crid}, space {s}: its page-map root is missing") : null));
    }

    /// <summary>Adds the chunks of a range, and clears what has none.</summary>
    private static void Plan(PageMap map, PageTarget wanted, int target, Pieces pieces)
    {
        var (range, destination, receiver) = wanted;
        var next = 0; // page in the destination
        map.Visit(range, run =>
        {
            if (run.Kind != PageKind.Chunk) return;
            var place = (int)(run.Range.Start.Number - range.Start.Number);
            if (receiver is null) destination.Span[(next * VirtualPage.Size)..(place * VirtualPage.Size)].Clear();
            pieces.Add(run.First, (int)run.Range.Count, target, place);
            next = place + (int)run.Range.Count;
        });
        if (receiver is null) destination.Span[(next * VirtualPage.Size)..].Clear();
    }

    private StoreDamagedException Damaged(SpaceId space, VirtualPage page, StoreDamagedException e) =>
        new($"CRID {manifest.Crid}, process {PidOf(space)}, page {page}: {e.Message}", e.Hint, e);

    private string PidOf(SpaceId space) =>
        manifest.Body.Processes.FirstOrDefault(p => p.Space == space.Value && !p.Zombie) is { } process ? $"{process.Pid} (space {space})" : $"of space {space}";
}
