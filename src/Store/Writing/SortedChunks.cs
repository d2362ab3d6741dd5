using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Crstore.Model;

namespace Crstore.Store.Writing;

/// <summary>The chunks of a capture in a range of content addresses, sorted: what a table file of the index is made from. For the sorting only a part of all is ever in memory.</summary>
internal sealed unsafe class SortedChunks : IComparer<int>
{
    private const int Ahead = 8;
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
        Sort(first, last);
    }

    /// <summary>How many.</summary>
    public int Count { get; private set; }

    /// <summary>The chunk at a place in the order of content addresses.</summary>
    public ContentHash HashAt(int place)
    {
        // In their order they lie anywhere in megabytes: those that will be asked for next are fetched meanwhile.
        if (Sse.IsSupported && place + Ahead < order.Length) Sse.Prefetch0(Unsafe.AsPointer(ref hashes[order[place + Ahead]]));
        return hashes[order[place]];
    }

    /// <summary>Its number in the capture.</summary>
    public uint NumberAt(int place) => numbers[order[place]];

    /// <inheritdoc/>
    public int Compare(int first, int second)
    {
        ref readonly var x = ref hashes[first];
        ref readonly var y = ref hashes[second];
        return x.A != y.A ? x.A.CompareTo(y.A) : x.B != y.B ? x.B.CompareTo(y.B) : x.C != y.C ? x.C.CompareTo(y.C) : x.D.CompareTo(y.D);
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

    // By the first bits they are nearly in order, for content addresses are spread evenly: what is left to sort is a few at a time, unless somebody has chosen the pages for it.
    private void Sort(ulong first, ulong last)
    {
        const int Few = 16;
        var shift = Math.Max(0, BitOperations.Log2(last - first | 1) - BitOperations.Log2((uint)order.Length | 1));
        var ends = new int[(int)((last - first) >> shift) + 2];
        for (var i = 0; i < order.Length; i++) ends[(int)((hashes[i].A - first) >> shift) + 1]++;
        for (var i = 1; i < ends.Length; i++) ends[i] += ends[i - 1];
        for (var i = 0; i < order.Length; i++) order[ends[(int)((hashes[i].A - first) >> shift)]++] = i;
        var start = 0;
        foreach (var end in ends)
        {
            if (end - start > Few) Array.Sort(order, start, end - start, this);
            else SortFew(order.AsSpan(start, end - start));
            start = end;
        }
    }

    private void SortFew(Span<int> few)
    {
        for (var i = 1; i < few.Length; i++)
        {
            var (moved, to) = (few[i], i);
            for (; to > 0 && Compare(few[to - 1], moved) > 0; to--) few[to] = few[to - 1];
            few[to] = moved;
        }
    }
}
