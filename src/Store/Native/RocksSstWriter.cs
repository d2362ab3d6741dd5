using System.Text;

namespace Crstore.Store.Native;

/// <summary>Builds one SST file from keys in ascending order, with no database and no lock.</summary>
internal sealed unsafe class RocksSstWriter : IDisposable
{
    private readonly RocksOptions options;
    private readonly nint environment = RocksNative.rocksdb_envoptions_create();
    private readonly string path;
    private nint writer;

    /// <summary>Creates the file.</summary>
    public RocksSstWriter(string path, ColumnFamily family)
    {
        this.path = path;
        options = new RocksOptions(only: family);
        writer = RocksNative.rocksdb_sstfilewriter_create(environment, options.Of(family));
        try
        {
            fixed (byte* p = Encoding.UTF8.GetBytes(path + '\0'))
            {
                RocksNative.rocksdb_sstfilewriter_open(writer, p, out var error);
                RocksError.Check(error, path);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Bytes of the keys and values so far.</summary>
    public ulong BytesPut { get; private set; }

    /// <summary>Appends; keys ascend.</summary>
    public void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        ObjectDisposedException.ThrowIf(writer == 0, this);
        fixed (byte* k = key, v = value)
        {
            RocksNative.rocksdb_sstfilewriter_put(writer, k, (nuint)key.Length, v, (nuint)value.Length, out var error);
            RocksError.Check(error, path);
        }

        BytesPut += (ulong)(key.Length + value.Length);
    }

    /// <summary>Completes the file; at least one key must be in it. The bytes are durable, the directory entry is not.</summary>
    public void Finish()
    {
        ObjectDisposedException.ThrowIf(writer == 0, this);
        RocksNative.rocksdb_sstfilewriter_finish(writer, out var error);
        RocksError.Check(error, path);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (writer == 0) return;
        RocksNative.rocksdb_sstfilewriter_destroy(writer);
        writer = 0;
        RocksNative.rocksdb_envoptions_destroy(environment);
        options.Dispose();
    }
}
