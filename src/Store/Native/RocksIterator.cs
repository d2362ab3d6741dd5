namespace Crstore.Store.Native;

/// <summary>A cursor over a column family. Positioning throws on damage; keys and values are valid until it moves.</summary>
internal sealed unsafe class RocksIterator(RocksDb db, nint handle) : IDisposable
{
    private nint handle = handle;

    /// <summary>On an entry.</summary>
    public bool Valid => RocksNative.rocksdb_iter_valid(Live()) != 0;

    /// <summary>Key.</summary>
    public ReadOnlySpan<byte> Key
    {
        get
        {
            var key = RocksNative.rocksdb_iter_key(Live(), out var length);
            return new ReadOnlySpan<byte>(key, checked((int)length));
        }
    }

    /// <summary>Value.</summary>
    public ReadOnlySpan<byte> Value
    {
        get
        {
            var value = RocksNative.rocksdb_iter_value(Live(), out var length);
            return new ReadOnlySpan<byte>(value, checked((int)length));
        }
    }

    /// <summary>To the first entry; false if there is none.</summary>
    public bool SeekToFirst()
    {
        RocksNative.rocksdb_iter_seek_to_first(Live());
        return Check();
    }

    /// <summary>To the last entry; false if there is none.</summary>
    public bool SeekToLast()
    {
        RocksNative.rocksdb_iter_seek_to_last(Live());
        return Check();
    }

    /// <summary>To the first entry at or behind the key; false if there is none.</summary>
    public bool Seek(ReadOnlySpan<byte> key)
    {
        fixed (byte* k = key) RocksNative.rocksdb_iter_seek(Live(), k, (nuint)key.Length);
        return Check();
    }

    /// <summary>To the next entry; false if there is none.</summary>
    public bool Next()
    {
        RocksNative.rocksdb_iter_next(Live());
        return Check();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (handle == 0) return;
        RocksNative.rocksdb_iter_destroy(handle);
        handle = 0;
        db.Closed(this);
    }

    private bool Check()
    {
        if (Valid) return true;
        RocksNative.rocksdb_iter_get_error(handle, out var error);
        RocksError.Check(error, db.Path);
        return false;
    }

    private nint Live()
    {
        ObjectDisposedException.ThrowIf(handle == 0, this);
        return handle;
    }
}
