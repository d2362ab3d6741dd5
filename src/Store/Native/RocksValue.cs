namespace Crstore.Store.Native;

/// <summary>A value pinned in RocksDB's memory.</summary>
internal unsafe ref struct RocksValue(nint slice) : IDisposable
{
    private nint slice = slice;

    /// <summary>False if the key is not there.</summary>
    public readonly bool Exists => slice != 0;

    /// <summary>The bytes; valid until disposed.</summary>
    public readonly ReadOnlySpan<byte> Span
    {
        get
        {
            if (slice == 0) return default;
            var value = RocksNative.rocksdb_pinnableslice_value(slice, out var length);
            return new ReadOnlySpan<byte>(value, checked((int)length));
        }
    }

    /// <summary>Unpins.</summary>
    public void Dispose()
    {
        if (slice == 0) return;
        RocksNative.rocksdb_pinnableslice_destroy(slice);
        slice = 0;
    }
}
