
namespace Crstore.Store.Reading;

/// <summary>
/// Sorts by where chunks are stored, keeping the order of those that are in one place: byte by byte from the lowest on (radix),
/// without the bytes that all have in common. Most are: a window of pages has a few CRIDs and ordinals of two or three bytes.
/// </summary>
internal static class StoredOrder
{
    private const int Buckets = 256;

    /// <summary>The numbers of the items in their stored order; null if they are in that order already.</summary>
    /// <param name="crids">Of each item.</param>
    /// <param name="numbers">Frame or patch group of each item.</param>
    /// <param name="count">Items.</param>
    public static int[]? Of(ulong[] crids, uint[] numbers, int count)
    {
        if (IsSorted(crids, numbers, count)) return null;
        ulong cridBits = 0;
        uint numberBits = 0;
        for (var i = 1; i < count; i++) (cridBits, numberBits) = (cridBits | crids[i] ^ crids[0], numberBits | numbers[i] ^ numbers[0]);
        int[] order = new int[count], other = new int[count];
        for (var i = 0; i < count; i++) order[i] = i;
        for (var shift = 0; shift < 32; shift += 8)
        {
            if ((byte)(numberBits >> shift) == 0) continue;
            PassNumbers(numbers, shift, order, other);
            (order, other) = (other, order);
        }

        for (var shift = 0; shift < 64; shift += 8)
        {
            if ((byte)(cridBits >> shift) == 0) continue;
            PassCrids(crids, shift, order, other);
            (order, other) = (other, order);
        }

        return order;
    }

    private static bool IsSorted(ulong[] crids, uint[] numbers, int count)
    {
        for (var i = 1; i < count; i++)
            if (crids[i] < crids[i - 1] || crids[i] == crids[i - 1] && numbers[i] < numbers[i - 1]) return false;
        return true;
    }

    private static void PassNumbers(uint[] keys, int shift, int[] from, int[] to)
    {
        Span<int> next = stackalloc int[Buckets];
        next.Clear();
        foreach (var i in from) next[(byte)(keys[i] >> shift)]++;
        Accumulate(next);
        foreach (var i in from) to[next[(byte)(keys[i] >> shift)]++] = i;
    }

    private static void PassCrids(ulong[] keys, int shift, int[] from, int[] to)
    {
        Span<int> next = stackalloc int[Buckets];
        next.Clear();
        foreach (var i in from) next[(byte)(keys[i] >> shift)]++;
        Accumulate(next);
        foreach (var i in from) to[next[(byte)(keys[i] >> shift)]++] = i;
    }

    private static void Accumulate(Span<int> counts)
    {
        var sum = 0;
        foreach (ref var count in counts) (count, sum) = (sum, sum + count);
    }
}
