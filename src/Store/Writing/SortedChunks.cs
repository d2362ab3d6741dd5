using Crstore.Model;

namespace Crstore.Store.Writing;

/// <summary>The chunks of a capture in a range of content addresses, sorted: what a table file of the index is made from. For the sorting only a part of all is ever in memory.</summary>
internal sealed class SortedChunks : IComparer<int>
{
    private ContentHash[] hashes;
    private uint[] numbers;
    private readonly int[] order;

    /// <param name="log">All of them.</param>
    /// <param name="first">First word of the smallest address.</param>
    /// <param name="last">First word of the largest one.</param>
    public SortedChunks(HashLog log, ulong first, ulong last)
    {
        // Content addresses are spread evenly, unless somebody has chosen the pages for it.
        var expected = Math.Min(log.Count, (uint)((UInt128)log.Count * (last - first) >> 64) * 33L / 32 + 1024);
        (hashes, numbers) = (new ContentHash[expected], new uint[expected]);
        var room = new ContentHash[HashLog.PieceSize];
        for (uint start = 0; start < log.Count; start += HashLog.PieceSize)
        {
            var piece = log.Piece(start, room);
            for (var i = 0; i < piece.Length; i++)
                if (piece[i].A - first <= last - first) Add(piece[i], start + (uint)i);
        }

        order = new int[Count];
        Sort();
    }

    /// <summary>How many.</summary>
    public int Count { get; private set; }

    /// <summary>The chunk at a place in the order of content addresses.</summary>
    public ContentHash HashAt(int place) => hashes[order[place]];

    /// <summary>Its number in the capture.</summary>
    public uint NumberAt(int place) => numbers[order[place]];

    /// <inheritdoc/>
    int IComparer<int>.Compare(int first, int second)
    {
        var (x, y) = (hashes[first], hashes[second]);
        return x.B != y.B ? x.B.CompareTo(y.B) : x.C != y.C ? x.C.CompareTo(y.C) : x.D.CompareTo(y.D);
    }

    private void Add(in ContentHash hash, uint number)
    {
        if (Count == hashes.Length)
        {
            Array.Resize(ref hashes, 2 * Count);
            Array.Resize(ref numbers, 2 * Count);
        }

        (hashes[Count], numbers[Count]) = (hash, number);
        Count++;
    }

    private void Sort()
    {
        var words = new ulong[order.Length];
        for (var i = 0; i < order.Length; i++) (order[i], words[i]) = (i, hashes[i].A);
        Array.Sort(words, order); // by the first word: several times faster than through a comparer
        for (var first = 0; first < order.Length;)
        {
            var end = first + 1;
            while (end < order.Length && words[end] == words[first]) end++;
            if (end - first > 1) Array.Sort(order, first, end - first, this);
            first = end;
        }
    }
}
