using System.Buffers;

namespace Crstore.Store.Native;

/// <summary>
/// One value at a time, as memory, where RocksDB has it: by the thousand, copying costs more than a lookup. What was taken of it is gone with the next one, and
/// with <see cref="Release"/>, which is due before the database is closed. Not thread safe.
/// </summary>
internal sealed unsafe class PinnedRecord : MemoryManager<byte>
{
    private nint slice;
    private byte* bytes;
    private int length;

    /// <summary>Takes a value in place of the one before.</summary>
    /// <returns>Its bytes; none if there is no such value.</returns>
    public ReadOnlyMemory<byte> Hold(RocksValue value)
    {
        Release();
        if (!value.Exists) return ReadOnlyMemory<byte>.Empty;
        bytes = RocksNative.rocksdb_pinnableslice_value(slice = value.Detach(), out var size);
        length = checked((int)size);
        return CreateMemory(length);
    }

    /// <summary>Unpins.</summary>
    public void Release()
    {
        if (slice == 0) return;
        RocksNative.rocksdb_pinnableslice_destroy(slice);
        slice = 0;
        bytes = null;
        length = 0;
    }

    /// <inheritdoc/>
    public override Span<byte> GetSpan() => new(bytes, length);

    /// <inheritdoc/>
    public override MemoryHandle Pin(int elementIndex = 0) => new(bytes + elementIndex);

    /// <inheritdoc/>
    public override void Unpin()
    {
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => Release();
}
