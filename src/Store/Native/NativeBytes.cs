using System.Buffers;

namespace Crstore.Store.Native;

/// <summary>Bytes that RocksDB owns, as memory. Whoever shows them says how long they live.</summary>
internal sealed unsafe class NativeBytes : MemoryManager<byte>
{
    private byte* bytes;
    private int length;

    /// <summary>These, from now on.</summary>
    public ReadOnlyMemory<byte> Show(byte* first, int count)
    {
        bytes = first;
        length = count;
        return Memory;
    }

    /// <inheritdoc/>
    public override Span<byte> GetSpan() => new(bytes, length);

    /// <inheritdoc/>
    public override MemoryHandle Pin(int elementIndex = 0) => new(bytes + elementIndex);

    /// <inheritdoc/>
    public override void Unpin()
    {
        // Native memory does not move.
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => length = 0;
}
