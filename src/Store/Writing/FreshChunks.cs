using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Crstore.Model;

namespace Crstore.Store.Writing;

/// <summary>
/// The chunks of this capture that are new to the store: their content addresses in the order in which they came, and an
/// open-addressing table to find their numbers by. A first capture has millions: a place of the table has the number and 32 bits of the address, which
/// only say where to look; that two are the same is said by their whole addresses. Looking up is thread safe as long as nobody adds.
/// </summary>
internal sealed unsafe class FreshChunks : IDisposable
{
    private const ulong MaxTable = 1UL << 30; // 805 million chunks, 3 TiB
    private readonly ulong seed = (ulong)Random.Shared.NextInt64() | 1; // keeps page contents from aiming at places in the table
    private readonly HashLog log;
    private ulong* table; // tag, number + 1; 0: free. Outside the garbage collector's sight: it would keep those that were outgrown
    private ulong places = 1024;

    /// <param name="path">Where addresses go that are too many for the memory.</param>
    /// <param name="inMemory">How many are not.</param>
    public FreshChunks(string path, uint inMemory)
    {
        log = new HashLog(path, inMemory);
        table = NewTable(places);
    }

    ~FreshChunks() => NativeMemory.Free(table);

    /// <summary>Chunks; the next one's number.</summary>
    public uint Count => log.Count;

    /// <summary>The content address of a number.</summary>
    public ContentHash this[uint sequence] => log[sequence];

    /// <summary>The sequence of a content address.</summary>
    public bool TryFind(in ContentHash hash, out uint sequence)
    {
        sequence = (uint)table[PlaceOf(hash)] - 1;
        return sequence != uint.MaxValue;
    }

    /// <summary>It will be looked for soon: its place in a table of megabytes is fetched meanwhile. Thread safe.</summary>
    public void Prefetch(in ContentHash hash)
    {
        if (Sse.IsSupported && table is not null) Sse.Prefetch0(table + StartOf(hash));
    }

    /// <summary>Adds one, with the next number, unless it is there already.</summary>
    /// <returns>True if it was added.</returns>
    public bool TryAdd(in ContentHash hash, out uint sequence)
    {
        if (Count >= places / 4 * 3) Grow();
        var place = PlaceOf(hash);
        sequence = (uint)table[place] - 1;
        if (sequence != uint.MaxValue) return false;
        sequence = Count;
        log.Add(hash);
        table[place] = EntryOf(hash, sequence);
        return true;
    }

    /// <summary>No one is looked for any more: gives back the memory of the table.</summary>
    public void CloseTable()
    {
        NativeMemory.Free(table);
        table = null;
        places = 0;
    }

    /// <summary>Those of one of <paramref name="parts"/> equal ranges of content addresses, in their order. Thread safe, one instance of <see cref="SortedChunks"/> each.</summary>
    /// <param name="part">Number of the range, from 0.</param>
    /// <param name="parts">Ranges.</param>
    public SortedChunks Sorted(int part, int parts)
    {
        ulong Bound(int n) => (ulong)((UInt128.MaxValue / (uint)parts * (uint)n) >> 64);
        return new SortedChunks(log, Bound(part), part == parts - 1 ? ulong.MaxValue : Bound(part + 1) - 1);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        CloseTable();
        log.Dispose();
        GC.SuppressFinalize(this);
    }

    private static ulong* NewTable(ulong places) => (ulong*)NativeMemory.AllocZeroed((nuint)places, sizeof(ulong));

    // The words that PlaceOf does not look at. Its upper half is the table's.
    private static ulong EntryOf(in ContentHash hash, uint sequence) => hash.C << 32 | (sequence + 1);

    /// <summary>Where it is, or the free place where it belongs.</summary>
    private nuint PlaceOf(in ContentHash hash)
    {
        ObjectDisposedException.ThrowIf(table is null, this);
        var tag = (uint)hash.C;
        var place = StartOf(hash);
        while (table[place] is var entry && entry != 0 && (entry >> 32 != tag || log[(uint)entry - 1] != hash)) place = (place + 1) & (nuint)(places - 1);
        return place;
    }

    private nuint StartOf(in ContentHash hash) => (nuint)((hash.A ^ hash.B) * seed >> (64 - BitOperations.Log2(places)));

    private void Grow()
    {
        if (places >= MaxTable) throw new EnvironmentException($"a capture can't have more than {Count} new pages");
        NativeMemory.Free(table); // before there is another one: all that it says is in the log
        table = null;
        table = NewTable(places *= 2);
        var room = new ContentHash[HashLog.PieceSize];
        for (uint first = 0; first < Count; first += HashLog.PieceSize)
        {
            var piece = log.Piece(first, room);
            for (var i = 0; i < piece.Length; i++)
            {
                var place = StartOf(piece[i]);
                while (table[place] != 0) place = (place + 1) & (nuint)(places - 1); // no two are the same
                table[place] = EntryOf(piece[i], first + (uint)i);
            }
        }
    }
}
