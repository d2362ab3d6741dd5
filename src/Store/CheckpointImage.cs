using System.Collections.Concurrent;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.PageMaps;
using Crstore.Store.Patches;
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
    private bool disposed;

    /// <inheritdoc/>
    public CheckpointManifest Manifest => manifest;

    /// <summary>Frames and patch groups fetched so far, once for each call that wants something of them.</summary>
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
    public void Read(SpaceId space, IReadOnlyList<PageTarget> targets)
    {
        var map = Map(space);
        var pieces = new List<Piece>();
        var patched = new List<PatchPiece>();
        for (var i = 0; i < targets.Count; i++)
        {
            var (range, destination) = targets[i];
            if ((ulong)destination.Length != range.SizeBytes) throw new ArgumentException($"{destination.Length} bytes for {range}", nameof(targets));
            if (map is null) destination.Span.Clear();
            else Plan(map, range, i, destination.Span, pieces, patched);
        }

        if (pieces.Count + patched.Count > 0) frames.Read(pieces, patched, targets, (page, e) => Damaged(space, page, e));
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

    /// <summary>Adds the chunks of a range, frame by frame and group by group, and clears what has none.</summary>
    private static void Plan(PageMap map, PageRange range, int target, Span<byte> destination, List<Piece> pieces, List<PatchPiece> patched)
    {
        var next = 0; // page in the destination
        foreach (var run in map.Spans(range))
        {
            if (run.Kind != PageKind.Chunk) continue;
            var place = (int)(run.Range.Start.Number - range.Start.Number);
            destination[(next * VirtualPage.Size)..(place * VirtualPage.Size)].Clear();
            next = place + (int)run.Range.Count;
            for (var done = 0; done < (int)run.Range.Count;)
            {
                var location = run.First with { Ordinal = run.First.Ordinal + (uint)done };
                var (page, left) = (run.Range.Start + (ulong)done, (int)run.Range.Count - done);
                int count;
                if (location.IsPatch)
                {
                    var slot = PatchGroupId.SlotOf(location);
                    count = Math.Min(left, PatchGroupId.Slots - slot);
                    patched.Add(new PatchPiece(PatchGroupId.Of(location), slot, count, page, target, place + done));
                }
                else
                {
                    count = Math.Min(left, ChunkLocation.SlotsPerFrame - location.Slot);
                    pieces.Add(new Piece(FrameId.Of(location), location.Slot, count, page, target, place + done, Patch: -1));
                }

                done += count;
            }
        }

        destination[(next * VirtualPage.Size)..].Clear();
    }

    private StoreDamagedException Damaged(SpaceId space, VirtualPage page, StoreDamagedException e) =>
        new($"CRID {manifest.Crid}, process {PidOf(space)}, page {page}: {e.Message}", e.Hint, e);

    private string PidOf(SpaceId space) =>
        manifest.Body.Processes.FirstOrDefault(p => p.Space == space.Value && !p.Zombie) is { } process ? $"{process.Pid} (space {space})" : $"of space {space}";
}
