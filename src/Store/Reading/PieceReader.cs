using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Reading;

/// <summary>
/// Reads pieces of frames on all cores, in stored order, each frame once: fetched, unpacked and checked in buffers that are
/// used again, and copied to where its pages go, or handed to a receiver. A frame that is wanted as a whole is unpacked in its place,
/// also where pages of it are anchors: patches are applied there. Thread safe.
/// </summary>
internal sealed class PieceReader(RocksDb db) : IDisposable
{
    /// <summary>Makes an error that names what a page belongs to.</summary>
    public delegate StoreDamagedException Damage(VirtualPage page, StoreDamagedException cause);

    private readonly PatchGroups groups = new(db);
    private WantedPatches? idle;
    private long fetched;

    /// <summary>Frames and patch groups fetched so far.</summary>
    public long Fetched => Interlocked.Read(ref fetched);

    /// <summary>Reads all pieces, which get sorted.</summary>
    /// <param name="pieces">What.</param>
    /// <param name="targets">Where to.</param>
    /// <param name="more">Other reads will follow, which may want what is left of the same patch groups.</param>
    /// <param name="damaged">Makes the error of a page that can't be read, the first one in stored order.</param>
    /// <exception cref="StoreDamagedException">That error.</exception>
    public void Read(Pieces pieces, IReadOnlyList<PageTarget> targets, bool more, Damage damaged)
    {
        if (pieces.Count == 0) return;
        if (pieces.Patches == 0)
        {
            ReadFrames(pieces, patches: null, targets, damaged);
            return;
        }

        var patches = Interlocked.Exchange(ref idle, null) ?? new WantedPatches(); // two reads at once: one makes its own
        try
        {
            Interlocked.Add(ref fetched, patches.Fetch(groups, pieces, targets, more, damaged));
            ReadFrames(pieces, patches, targets, damaged);
        }
        finally
        {
            Interlocked.Exchange(ref idle, patches)?.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Interlocked.Exchange(ref idle, null)?.Dispose();

    private void ReadFrames(Pieces pieces, WantedPatches? patches, IReadOnlyList<PageTarget> targets, Damage damaged)
    {
        pieces.Sort();
        var first = pieces.FirstOfEachFrame();
        Interlocked.Add(ref fetched, first.Length - 1);
        InStoredOrder.For(first.Length - 1, i => ReadFrame(pieces, first[i], first[i + 1], patches, targets, damaged));
    }

    private void ReadFrame(Pieces pieces, int first, int end, WantedPatches? patches, IReadOnlyList<PageTarget> targets, Damage damaged)
    {
        var (at, ofIt) = (first, 0); // piece and page of it, for messages
        try
        {
            var scratch = FrameScratch.OfThisThread;
            var frame = scratch.Frame(db, pieces[first].Frame);
            var whole = IsWhole(pieces, first, end, frame.Live);
            if (patches is not null)
                for (var p = first; p < end; p++)
                    if (pieces[p].Patch >= 0) patches.Prefetch(pieces[p]);
            var place = Span<byte>.Empty; // of all pages, if they are wanted as they lie in the frame
            if (whole) frame.Unpack(place = Place(targets, pieces[first], frame.LiveCount, scratch));
            else frame.UnpackInto(scratch.Unpacked);
            for (var p = first; p < end; p++)
            {
                ref readonly var piece = ref pieces[at = p];
                var destination = whole ? place.Slice((piece.Place - pieces[first].Place) * VirtualPage.Size, piece.Count * VirtualPage.Size) : Place(targets, piece, piece.Count, scratch);
                for (var i = 0; i < piece.Count; i++)
                {
                    ofIt = i;
                    var there = destination.Slice(i * VirtualPage.Size, VirtualPage.Size);
                    if (!whole) frame.Unchecked(piece.Slot + i).CopyTo(there);
                    if (piece.Patch >= 0) patches!.Apply(piece, there);
                }

                if (whole) continue;
                Check(p, p + 1, destination);
                targets[piece.Target].Receiver?.Receive(piece.PageOf(targets), destination);
            }

            if (!whole) return;
            Check(first, end, place);
            targets[pieces[first].Target].Receiver?.Receive(pieces[first].PageOf(targets), place);

            // All pages at once: side by side they take less time.
            void Check(int from, int to, ReadOnlySpan<byte> made)
            {
                Span<ContentHash> hashes = stackalloc ContentHash[ChunkLocation.SlotsPerFrame];
                hashes = hashes[..(made.Length / VirtualPage.Size)];
                PageHash.Of(made, hashes);
                var n = 0;
                for (var p = from; p < to; p++)
                {
                    at = p;
                    for (var i = 0; i < pieces[p].Count; i++)
                    {
                        ofIt = i;
                        if (pieces[p].Patch >= 0) patches!.Check(pieces[p], hashes[n++]);
                        else frame.Check(pieces[p].Slot + i, hashes[n++]);
                    }
                }
            }
        }
        catch (StoreDamagedException e)
        {
            throw damaged(pieces[at].PageOf(targets) + (ulong)ofIt, e);
        }
    }

    /// <summary>True if the pieces are all live pages of a frame, and go to consecutive places.</summary>
    private static bool IsWhole(Pieces pieces, int first, int end, ushort live)
    {
        var slots = pieces[first].Slots;
        for (var i = first + 1; i < end; i++)
        {
            if (!pieces[i - 1].ContinuesInto(pieces[i])) return false;
            slots |= pieces[i].Slots;
        }

        return slots == live;
    }

    private static Span<byte> Place(IReadOnlyList<PageTarget> targets, in Piece piece, int pages, FrameScratch scratch)
    {
        var target = targets[piece.Target];
        return target.Receiver is null
            ? target.Destination.Span.Slice(piece.Place * VirtualPage.Size, pages * VirtualPage.Size)
            : scratch.Handed.AsSpan(0, pages * VirtualPage.Size);
    }
}
