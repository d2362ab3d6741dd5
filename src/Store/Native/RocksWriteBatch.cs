namespace Crstore.Store.Native;

/// <summary>Changes that become durable together.</summary>
internal sealed unsafe class RocksWriteBatch(RocksDb db) : IDisposable
{
    private nint handle = RocksNative.rocksdb_writebatch_create();

    /// <summary>Entries so far.</summary>
    public int Count => RocksNative.rocksdb_writebatch_count(Handle);

    /// <summary>Bytes of keys and values put so far.</summary>
    public ulong BytesPut { get; private set; }

    internal nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(handle == 0, this);
            return handle;
        }
    }

    /// <summary>Puts.</summary>
    public void Put(ColumnFamily family, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        fixed (byte* k = key, v = value)
            RocksNative.rocksdb_writebatch_put_cf(Handle, db.Family(family), k, (nuint)key.Length, v, (nuint)value.Length);
        BytesPut += (ulong)(key.Length + value.Length);
    }

    /// <summary>Deletes a key.</summary>
    public void Delete(ColumnFamily family, ReadOnlySpan<byte> key)
    {
        fixed (byte* k = key) RocksNative.rocksdb_writebatch_delete_cf(Handle, db.Family(family), k, (nuint)key.Length);
    }

    /// <summary>Deletes the keys from <paramref name="from"/> up to, not with, <paramref name="to"/>.</summary>
    public void DeleteRange(ColumnFamily family, ReadOnlySpan<byte> from, ReadOnlySpan<byte> to)
    {
        fixed (byte* f = from, t = to)
            RocksNative.rocksdb_writebatch_delete_range_cf(Handle, db.Family(family), f, (nuint)from.Length, t, (nuint)to.Length);
    }

    /// <summary>Empties it.</summary>
    public void Clear() => RocksNative.rocksdb_writebatch_clear(Handle);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (handle == 0) return;
        RocksNative.rocksdb_writebatch_destroy(handle);
        handle = 0;
    }
}
