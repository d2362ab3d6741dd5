using System.Numerics;
using Crstore.Model;

namespace Crstore.Store.Writing;

/// <summary>
/// The chunks of this capture that are new to the store: their content addresses in the order in which they came, and an
/// open-addressing table to find their numbers by. A first capture has millions: 32 bytes each, in pieces that never move, and about 8 for
/// the table. Looking up is thread safe as long as nobody adds.
/// </summary>
internal sealed class FreshChunks : IComparer<uint>
{
    private const int PieceShift = 12;
    private const int MaxTable = 1 << 30; // 805 million chunks, 3 TiB
    private const int PieceSize = 1 << PieceShift;
    private readonly ulong seed = (ulong)Random.Shared.NextInt64() | 1; // keeps page contents from aiming at places in the table
    private readonly List<ContentHash[]> pieces = [];
    private uint[] table = new uint[1024]; // sequence + 1; 0: free

    /// <summary>Chunks; the next one's number.</summary>
    public uint Count { get; private set; }

    /// <summary>The content address of a number.</summary>
    public ref readonly ContentHash this[uint sequence] => ref pieces[(int)(sequence >> PieceShift)][sequence & (PieceSize - 1)];

    /// <summary>The sequence of a content address.</summary>
    public bool TryFind(in ContentHash hash, out uint sequence)
    {
        sequence = table[PlaceOf(hash)] - 1;
        return sequence != uint.MaxValue;
    }

    /// <summary>Adds one, with the next number, unless it is there already.</summary>
    /// <returns>True if it was added.</returns>
    public bool TryAdd(in ContentHash hash, out uint sequence)
    {
        if (Count >= (ulong)table.Length / 4 * 3) Grow();
        var place = PlaceOf(hash);
        sequence = table[place] - 1;
        if (sequence != uint.MaxValue) return false;
        if (Count >> PieceShift == pieces.Count) pieces.Add(new ContentHash[PieceSize]);
        pieces[^1][Count & (PieceSize - 1)] = hash;
        sequence = Count;
        table[place] = ++Count;
        return true;
    }

    /// <summary>All numbers, in the order of their content addresses.</summary>
    public uint[] Sorted()
    {
        var order = new uint[Count];
        var words = new ulong[Count];
        for (uint i = 0; i < Count; i++) (order[i], words[i]) = (i, this[i].A);
        Array.Sort(words, order); // by the first word: several times faster than through a comparer
        for (var first = 0; first < order.Length;)
        {
            var end = first + 1;
            while (end < order.Length && words[end] == words[first]) end++;
            if (end - first > 1) Array.Sort(order, first, end - first, this);
            first = end;
        }

        return order;
    }

    /// <inheritdoc/>
    int IComparer<uint>.Compare(uint first, uint second)
    {
        ref readonly var x = ref this[first];
        ref readonly var y = ref this[second];
        return x.A != y.A ? x.A.CompareTo(y.A) : x.B != y.B ? x.B.CompareTo(y.B) : x.C != y.C ? x.C.CompareTo(y.C) : x.D.CompareTo(y.D);
    }

    /// <summary>Where it is, or the free place where it belongs.</summary>
    private nuint PlaceOf(in ContentHash hash)
    {
        var mask = (nuint)table.Length - 1;
        var place = (nuint)((hash.A ^ hash.B) * seed >> (64 - BitOperations.Log2((uint)table.Length)));
        while (table[place] is var entry && entry != 0 && this[entry - 1] != hash) place = (place + 1) & mask;
        return place;
    }

    private void Grow()
    {
        if (table.Length >= MaxTable) throw new EnvironmentException($"a capture can't have more than {Count} new pages");
        table = new uint[table.Length * 2];
        for (uint i = 0; i < Count; i++) table[PlaceOf(this[i])] = i + 1;
    }
}
