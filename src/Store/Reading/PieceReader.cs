using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Native;

namespace Crstore.Store.Reading;

/// <summary>Consecutive slots of a frame and where they go; ordered by frame, then by page.</summary>
/// <param name="Frame">The frame.</param>
/// <param name="Slot">First slot.</param>
/// <param name="Count">Slots.</param>
/// <param name="Page">Page of the first one, for messages.</param>
/// <param name="Target">Index of the memory that they go to.</param>
/// <param name="Place">Page in that memory.</param>
internal readonly record struct Piece(FrameId Frame, int Slot, int Count, VirtualPage Page, int Target, int Place) : IComparable<Piece>
{
    /// <summary>Its slots, a bit each.</summary>
    public ushort Slots => (ushort)(((1u << Count) - 1) << Slot);

    /// <inheritdoc/>
    public int CompareTo(Piece other) =>
        Frame.Crid != other.Frame.Crid ? Frame.Crid.CompareTo(other.Frame.Crid) :
        Frame.Number != other.Frame.Number ? Frame.Number.CompareTo(other.Frame.Number) : Page.Number.CompareTo(other.Page.Number);
}

/// <summary>
/// Reads pieces of frames on all cores, in stored order, each frame once: fetched, unpacked and checked in buffers that are
/// used again, and copied to where its pages go. A frame that is wanted as a whole is unpacked in its place. Thread safe.
/// </summary>
internal sealed class PieceReader(RocksDb db)
{
    /// <summary>Makes an error that names what a page belongs to.</summary>
    public delegate StoreDamagedException Damage(VirtualPage page, StoreDamagedException cause);

    private const int UnitFrames = 8; // taken by a core at a time
    private const int FewFrames = 3;  // not worth waking the other cores
    private long fetched;

    /// <summary>Frames fetched so far.</summary>
    public long Fetched => Interlocked.Read(ref fetched);

    /// <summary>Reads all pieces, which get sorted.</summary>
    /// <param name="pieces">What.</param>
    /// <param name="targets">Where to.</param>
    /// <param name="damaged">Makes the error of a page that can't be read, the first one in stored order.</param>
    /// <exception cref="StoreDamagedException">That error.</exception>
    public void Read(List<Piece> pieces, IReadOnlyList<PageTarget> targets, Damage damaged)
    {
        pieces.Sort();
        var frames = FirstOfEachFrame(pieces);
        var count = frames.Count - 1;
        Interlocked.Add(ref fetched, count);
        if (count <= FewFrames)
        {
            for (var i = 0; i < count; i++) ReadFrame(pieces, frames[i], frames[i + 1], targets, Scratch.OfThisThread, damaged);
            return;
        }

        var work = new Work(pieces, frames, targets);
        AllCores.For(0, (count + UnitFrames - 1) / UnitFrames, unit => ReadUnit(work, unit, damaged));
        if (work.Failure is { } failure) throw failure;
    }

    /// <summary>Indexes of the pieces with which a frame begins, and the end.</summary>
    private static List<int> FirstOfEachFrame(List<Piece> pieces)
    {
        var first = new List<int>();
        for (var i = 0; i < pieces.Count; i++)
            if (i == 0 || pieces[i].Frame != pieces[i - 1].Frame) first.Add(i);
        first.Add(pieces.Count);
        return first;
    }

    private void ReadUnit(Work work, int unit, Damage damaged)
    {
        var scratch = Scratch.OfThisThread;
        for (var i = unit * UnitFrames; i < Math.Min((unit + 1) * UnitFrames, work.Frames.Count - 1); i++)
        {
            if (work.IsBehindFailure(i)) return;
            try
            {
                ReadFrame(work.Pieces, work.Frames[i], work.Frames[i + 1], work.Targets, scratch, damaged);
            }
            catch (StoreDamagedException e)
            {
                work.Fail(i, e); // the cores meet damage in any order; it is told of in stored order
            }
        }
    }

    private void ReadFrame(List<Piece> pieces, int first, int end, IReadOnlyList<PageTarget> targets, Scratch scratch, Damage damaged)
    {
        var page = pieces[first].Page;
        try
        {
            var frame = Fetch(pieces[first].Frame, scratch);
            if (end - first == 1 && pieces[first].Slots == frame.Live)
            {
                var whole = pieces[first];
                var there = targets[whole.Target].Destination.Span.Slice(whole.Place * VirtualPage.Size, whole.Count * VirtualPage.Size);
                frame.Unpack(there);
                for (var i = 0; i < whole.Count; i++, page += 1) frame.Check(whole.Slot + i, there.Slice(i * VirtualPage.Size, VirtualPage.Size));
                return;
            }

            frame.UnpackInto(scratch.Pages);
            for (var p = first; p < end; p++)
            {
                var piece = pieces[p];
                var destination = targets[piece.Target].Destination.Span[(piece.Place * VirtualPage.Size)..];
                page = piece.Page;
                for (var i = 0; i < piece.Count; i++, page += 1) frame.Page(piece.Slot + i).CopyTo(destination[(i * VirtualPage.Size)..]);
            }
        }
        catch (StoreDamagedException e)
        {
            throw damaged(page, e);
        }
    }

    private FrameReader Fetch(FrameId id, Scratch scratch)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.Frame(id, key);
        using var value = db.GetPinned(ColumnFamily.Chunks, key);
        var bytes = value.Span;
        if (bytes.Length > scratch.Packed.Length) return FrameReader.Parse(id, bytes.ToArray()); // refused there
        bytes.CopyTo(scratch.Packed);
        return FrameReader.Parse(id, scratch.Packed.AsMemory(0, bytes.Length));
    }

    /// <summary>A call's work, shared by the cores.</summary>
    private sealed class Work(List<Piece> pieces, List<int> frames, IReadOnlyList<PageTarget> targets)
    {
        private readonly Lock gate = new();
        private int failed = int.MaxValue;

        public List<Piece> Pieces => pieces;

        public List<int> Frames => frames;

        public IReadOnlyList<PageTarget> Targets => targets;

        public StoreDamagedException? Failure { get; private set; }

        public bool IsBehindFailure(int frame) => frame > Volatile.Read(ref failed);

        public void Fail(int frame, StoreDamagedException failure)
        {
            lock (gate)
                if (frame < failed) (failed, Failure) = (frame, failure);
        }
    }

    /// <summary>A thread's buffers: a frame as it is stored, and its pages.</summary>
    private sealed class Scratch
    {
        [ThreadStatic]
        private static Scratch? ofThisThread;

        public static Scratch OfThisThread => ofThisThread ??= new Scratch();

        public byte[] Packed { get; } = GC.AllocateUninitializedArray<byte>(FrameLayout.Overhead(ChunkLocation.SlotsPerFrame) + FormatLimits.Default.MaxFramePayloadBytes);

        public byte[] Pages { get; } = GC.AllocateUninitializedArray<byte>(ChunkLocation.SlotsPerFrame * VirtualPage.Size);
    }
}
