using System.Runtime.Intrinsics.X86;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Store.Frames;
using Crstore.Store.Patches;

namespace Crstore.Store.Reading;

/// <summary>
/// The patches that a read wants: fetched first, group by group in stored order on all cores, since only they know which
/// frames' pages they change. They stay here until their anchors are in place. Its memory serves for one read after the other.
/// </summary>
internal sealed class WantedPatches : IDisposable
{
    private const int Unit = 16; // groups taken by a core at a time
    private const int BlockBits = 17;  // 128 KiB: with 14 bits for the block's number a patch's place is an int
    private const int MaxBlocks = 1 << (31 - BlockBits);
    private const int PoolBlocks = 64; // 8 MiB
    private const int Many = 4096, UsualBytes = 160; // of a patch, with its record
    private const int CacheLine = 64, Alignment = sizeof(ulong);

    private readonly ThreadLocal<Writer> writers;
    private readonly Lock gate = new();
    private readonly List<MappedMemory> pools = [];
    private nint[] blocks = new nint[PoolBlocks]; // their addresses
    private int blocksUsed, blocksPopulated;
    private volatile bool isSorted;

    public WantedPatches() => writers = new ThreadLocal<Writer>(() => new Writer(this), trackAllValues: true);

    /// <summary>Fetches all patches among the pieces, and tells these what they are made of and where their patch is.</summary>
    /// <param name="groups">Where from.</param>
    /// <param name="pieces">What; those of groups get sorted.</param>
    /// <param name="targets">Where they go to, for messages.</param>
    /// <param name="more">Other reads will follow, which may want what is left of the same groups.</param>
    /// <param name="damaged">Makes the error of a page that can't be read.</param>
    /// <returns>Groups fetched.</returns>
    public int Fetch(PatchGroups groups, Pieces pieces, IReadOnlyList<PageTarget> targets, bool more, PieceReader.Damage damaged)
    {
        blocksUsed = 0;
        foreach (var each in writers.Values) each.StartOver();
        if (pieces.Patches < Many) pieces.SortPatched();
        else Sort(pieces);
        var first = pieces.FirstOfEachGroup();
        InStoredOrder.For(first.Length - 1, Unit, groups.Begin, (g, cursor) => FetchGroup(cursor, pieces, targets, more, first[g], first[g + 1], damaged));
        return first.Length - 1;
    }

    /// <summary>Has the processor fetch a patch that will be applied in a moment: they lie anywhere, and each would be waited for.</summary>
    public unsafe void Prefetch(in Piece piece)
    {
        if (!Sse.IsSupported) return;
        var at = At(piece.Patch);
        Sse.Prefetch0(at);
        Sse.Prefetch0(at + CacheLine);
        Sse.Prefetch0(at + 2 * CacheLine);
    }

    /// <summary>Turns the anchor's page into the one that was wanted. <see cref="Check"/> is for the caller.</summary>
    /// <exception cref="StoreDamagedException">There is no such patch.</exception>
    public unsafe void Apply(in Piece piece, Span<byte> page)
    {
        var record = (Record*)At(piece.Patch);
        if (!PatchCodec.Apply(new ReadOnlySpan<byte>(record + 1, record->Length), page)) throw NotItsAddress(piece, record);
    }

    /// <summary>Compares the address of what came of it with what it should be.</summary>
    /// <exception cref="StoreDamagedException">It is another one: the patch or the anchor is damaged.</exception>
    public unsafe void Check(in Piece piece, in ContentHash made)
    {
        var record = (Record*)At(piece.Patch);
        if (made != ContentHash.Read(new ReadOnlySpan<byte>(record->Hash, ContentHash.Size))) throw NotItsAddress(piece, record);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable pool in pools) pool.Dispose();
        blocks = [];
        writers.Dispose();
    }

    private static unsafe StoreDamagedException NotItsAddress(in Piece piece, Record* record) =>
        PatchGroup.NotItsAddress(new PatchGroupId(new Crid(record->Crid), record->Number), record->Slot, piece.Frame.Location(piece.Slot));

    private unsafe byte* At(int place) => (byte*)blocks[place >> BlockBits] + (place & ((1 << BlockBits) - 1));

    private void FetchGroup(PatchGroups.Cursor cursor, Pieces pieces, IReadOnlyList<PageTarget> targets, bool more, int from, int to, PieceReader.Damage damaged)
    {
        var at = pieces.Patched(from).Piece; // for messages
        try
        {
            var mine = writers.Value!;
            var id = pieces.Patched(from).Group;
            var isLast = more && (to == pieces.PatchedCount || pieces.Patched(to).Group.Crid != id.Crid);
            for (var i = from; i < to; i++) pieces.Prefetch(pieces.Patched(i).Piece); // a group's pages lie anywhere
            var group = cursor.Read(id, isLast).Open();
            for (var i = from; i < to; i++)
            {
                ref readonly var wanted = ref pieces.Patched(i);
                for (var n = 0; n < wanted.Count; n++)
                {
                    ref var piece = ref pieces[at = wanted.Piece + n];
                    var slot = wanted.Slot + n;
                    var rank = group.RankOf(slot);
                    var anchor = group.Anchor(rank);
                    piece = piece with { Frame = FrameId.Of(anchor), Slot = (byte)anchor.Slot, Patch = mine.Keep(id, slot, group.Hash(rank), group.Patch(rank)) };
                }
            }
        }
        catch (StoreDamagedException e)
        {
            throw damaged(pieces[at].PageOf(targets), e);
        }
    }

    // A core that has nothing else to do meanwhile has the memory populated that all would wait for in a moment. Nobody waits for that.
    private void Sort(Pieces pieces)
    {
        isSorted = false;
        AllCores.For(0, 2, part =>
        {
            if (part == 0)
            {
                pieces.SortPatched();
                isSorted = true;
            }
            else
            {
                MakeReady(pieces.Patches);
            }
        });
    }

    private void MakeReady(int patches)
    {
        var blocks = Math.Min((long)patches * UsualBytes >> BlockBits, PoolBlocks);
        while (!isSorted)
        {
            int number;
            lock (gate)
            {
                if (blocksPopulated >= blocks) return;
                if (pools.Count == 0) AddPool();
                number = blocksPopulated++;
            }

            Populate(number);
        }
    }

    // A new one for a thread; the same memory in every read.
    private int NextBlock()
    {
        int number;
        bool populate;
        lock (gate)
        {
            number = blocksUsed;
            if (number == MaxBlocks) throw new InvalidOperationException("a read of more than 2 GiB of patches");
            if (number / PoolBlocks == pools.Count) AddPool();
            blocksUsed++; // there is memory for it
            populate = number == blocksPopulated;
            if (populate) blocksPopulated++;
        }

        if (populate) Populate(number);
        return number;
    }

    private void AddPool()
    {
        var first = pools.Count * PoolBlocks;
        if (first == blocks.Length) Array.Resize(ref blocks, 2 * first);
        pools.Add(new MappedMemory(PoolBlocks << BlockBits, huge: false));
        for (var i = 0; i < PoolBlocks; i++) blocks[first + i] = (nint)pools[^1].Address + (i << BlockBits);
    }

    // Else each page is when it is touched.
    private void Populate(int block) => pools[block / PoolBlocks].Populate(block % PoolBlocks << BlockBits, 1 << BlockBits);

    /// <summary>A patch in a block: this, and its bytes.</summary>
    private unsafe struct Record
    {
        public ulong Crid; // of its group
        public uint Number;
        public ushort Length, Slot;
        public fixed byte Hash[ContentHash.Size];
    }

    /// <summary>Fills one thread's blocks.</summary>
    private sealed class Writer(WantedPatches owner)
    {
        private const int None = -1;
        private int block = None;
        private int used;

        /// <summary>Copies a patch; returns its place.</summary>
        public unsafe int Keep(PatchGroupId group, int slot, ReadOnlySpan<byte> hash, ReadOnlySpan<byte> patch)
        {
            var size = sizeof(Record) + patch.Length;
            if (block == None || (1 << BlockBits) - used < size) (block, used) = (owner.NextBlock(), 0);
            var place = block << BlockBits | used;
            var record = (Record*)owner.At(place);
            (record->Crid, record->Number, record->Length, record->Slot) = (group.Crid.Value, group.Number, (ushort)patch.Length, (ushort)slot);
            hash.CopyTo(new Span<byte>(record->Hash, ContentHash.Size));
            patch.CopyTo(new Span<byte>(record + 1, patch.Length));
            used += size + Alignment - 1 & -Alignment;
            return place;
        }

        public void StartOver() => block = None;
    }
}
