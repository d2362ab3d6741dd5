using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Store.Patches;
using Crstore.Store.Reading;

namespace Crstore.Store.Writing;

/// <summary>
/// Looks which new pages of a batch can be stored as patches: those whose parent has a chunk at the same address of which they
/// differ by little. The page that is changed, the anchor, is that chunk, or if it is a patch itself, its anchor: one hop, however
/// long the chain. On all cores; its buffers are used again for the next batch.
/// </summary>
/// <param name="snapshot">The store.</param>
/// <param name="chunks">Of it.</param>
/// <param name="known">Anchors of earlier captures; null for none.</param>
/// <param name="buffers">Its own for as long as it lives.</param>
internal sealed class PagePatcher(RocksDb snapshot, ChunkLookup chunks, AnchorPages? known, SinkBuffers buffers)
{
    // Unpacking an anchor's frame costs more than storing the page would. Where the first pages of a unit, in the order of their
    // anchors, yield no patch (a program that rewrites whole pages), the others of it are not tried.
    private const int UnitPages = 64;
    private const int SamplePages = 8;

    private static readonly int MaxBytes = FormatLimits.Default.MaxPatchBytes;
    private readonly List<Candidate> candidates = new(PageHasher.BatchPages);
    private readonly int[] lengths = new int[PageHasher.BatchPages];
    private readonly ChunkLocation[] anchors = new ChunkLocation[PageHasher.BatchPages];
    private byte[] patches = [];

    /// <summary>Notes a new page of the batch whose address the parent may have a chunk for.</summary>
    /// <param name="index">In the batch.</param>
    /// <param name="parent">The parent's page map.</param>
    /// <param name="page">Its address.</param>
    public void Note(int index, PageMap parent, VirtualPage page) => candidates.Add(new Candidate(index, parent, page, default));

    /// <summary>Starts a batch.</summary>
    public void Start(int pages)
    {
        candidates.Clear();
        Array.Clear(lengths, 0, pages);
    }

    /// <summary>Makes the patches of the pages that were noted.</summary>
    public void Process(ReadOnlyMemory<byte> batch)
    {
        if (candidates.Count == 0) return;
        if (patches.Length == 0) patches = buffers.Patches;
        var found = candidates.ToArray();
        Units(found.Length, (from, to) => FindAnchors(found.AsSpan(from..to)));
        found = InOrderOfAnchors(found);
        var tried = Array.FindIndex(found, c => c.Anchor.Crid.IsSome); // those without one come first
        if (tried < 0) return;
        var units = UnitsOfFrames(found, tried);
        AllCores.For(0, units.Count, unit => Try(found.AsSpan(units[unit].From..units[unit].To), batch.Span));
    }

    /// <summary>The patch of a page of the batch; empty if there is none.</summary>
    public ReadOnlySpan<byte> PatchOf(int index, out ChunkLocation anchor)
    {
        anchor = anchors[index];
        return lengths[index] > 0 ? patches.AsSpan(index * MaxBytes, lengths[index]) : default;
    }

    // By radix: quicker than Array.Sort with a comparison.
    private static Candidate[] InOrderOfAnchors(Candidate[] found)
    {
        var (crids, ordinals) = (new ulong[found.Length], new uint[found.Length]);
        for (var i = 0; i < found.Length; i++) (crids[i], ordinals[i]) = (found[i].Anchor.Crid.Value, found[i].Anchor.Ordinal);
        if (StoredOrder.Of(crids, ordinals, found.Length) is not { } order) return found;
        var sorted = new Candidate[found.Length];
        for (var i = 0; i < sorted.Length; i++) sorted[i] = found[order[i]];
        return sorted;
    }

    private static void Units(int count, Action<int, int> body)
    {
        var units = (count + UnitPages - 1) / UnitPages;
        if (units == 1) body(0, count);
        else AllCores.For(0, units, unit => body(unit * UnitPages, Math.Min(count, (unit + 1) * UnitPages)));
    }

    private void FindAnchors(Span<Candidate> unit)
    {
        foreach (ref var candidate in unit)
        {
            try
            {
                var run = candidate.Parent.Find(candidate.Page);
                if (run.Kind == PageKind.Chunk) candidate = candidate with { Anchor = chunks.AnchorFor(run.First) };
            }
            catch (StoreDamagedException)
            {
                continue; // damage in the store is no reason to lose this page: it is stored as a whole
            }
        }
    }

    // Of whole frames, so that none is unpacked on two cores.
    private static List<(int From, int To)> UnitsOfFrames(Candidate[] found, int first)
    {
        var units = new List<(int, int)>();
        for (int from = first, to; from < found.Length; from = to)
        {
            to = Math.Min(from + UnitPages, found.Length);
            while (to < found.Length && FrameId.Of(found[to].Anchor) == FrameId.Of(found[to - 1].Anchor)) to++;
            units.Add((from, to));
        }

        return units;
    }

    private void Try(ReadOnlySpan<Candidate> unit, ReadOnlySpan<byte> batch)
    {
        var scratch = FrameScratch.OfThisThread;
        FrameReader? frame = null;
        var made = false;
        for (var i = 0; i < unit.Length && (made || i < SamplePages); i++)
        {
            var (index, _, _, anchor) = unit[i];
            try
            {
                ReadOnlySpan<byte> page = scratch.Handed.AsSpan(0, VirtualPage.Size);
                var isKnown = known?.TryRead(snapshot, anchor, scratch.Handed.AsSpan(0, VirtualPage.Size)) == true;
                if (!isKnown)
                {
                    if (frame?.Id != FrameId.Of(anchor))
                    {
                        frame = null;
                        var fetched = scratch.Frame(snapshot, FrameId.Of(anchor));
                        fetched.UnpackInto(scratch.Unpacked);
                        frame = fetched;
                        known?.AddNeighbours(frame);
                    }

                    page = frame.Unchecked(anchor.Slot);
                }

                var length = PatchCodec.Make(page, batch.Slice(index * VirtualPage.Size, VirtualPage.Size), patches.AsSpan(index * MaxBytes, MaxBytes));
                if (length <= 0) continue; // 0: the index has lost the anchor's entry, and gets it back with a copy
                if (!isKnown)
                {
                    var hash = PageHash.Of(page);
                    frame!.Check(anchor.Slot, hash); // from a damaged one this page could never be made again
                    known?.Add(anchor, hash, page);
                }

                (lengths[index], anchors[index]) = (length, anchor);
                made = true;
            }
            catch (StoreDamagedException)
            {
                continue; // as above
            }
        }
    }

    private readonly record struct Candidate(int Index, PageMap Parent, VirtualPage Page, ChunkLocation Anchor);
}
