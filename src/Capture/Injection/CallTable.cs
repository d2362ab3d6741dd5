using System.Buffers.Binary;

namespace Crstore.Capture.Injection;

/// <summary>
/// Calls as the loop in a slot takes them (<see cref="SlotImage.BuildTable"/>), in the second scratch page: number and four arguments each, and a
/// negative number at the end. The number's place takes the result.
/// </summary>
internal static class CallTable
{
    /// <summary>Bytes of a call.</summary>
    public const int EntryBytes = CallBatch.Words * sizeof(ulong);

    /// <summary>So many calls and the end fit in a page.</summary>
    public const int MaxCalls = (4096 - sizeof(ulong)) / EntryBytes;

    /// <summary>The calls from one index to before another.</summary>
    public static byte[] Write(CallBatch batch, int from, int to)
    {
        var table = new byte[(to - from) * EntryBytes + sizeof(ulong)];
        var at = table.AsSpan();
        for (var call = from; call < to; call++)
        {
            for (var word = 0; word < CallBatch.Words; word++)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(at, batch.Word(call, word));
                at = at[sizeof(ulong)..];
            }
        }

        BinaryPrimitives.WriteInt64LittleEndian(at, -1);
        return table;
    }

    /// <summary>The results, from the table as it is afterwards.</summary>
    public static void TakeResults(ReadOnlySpan<byte> table, CallBatch batch, int from, int to)
    {
        for (var call = from; call < to; call++)
            batch.SetResult(call, BinaryPrimitives.ReadInt64LittleEndian(table[((call - from) * EntryBytes)..]));
    }
}
