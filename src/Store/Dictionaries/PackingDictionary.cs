using Crstore.Store.Native;

namespace Crstore.Store.Dictionaries;

/// <summary>A dictionary to pack frames with, on any number of threads: its tables take up to 128 MiB, each thread's context a little.</summary>
internal sealed class PackingDictionary : IDisposable
{
    private readonly ZstdDictionaryTables tables;
    private readonly ThreadLocal<ZstdCompressor> compressors;

    /// <summary>Makes the tables.</summary>
    public PackingDictionary(StoredDictionary content)
    {
        Content = content;
        tables = new ZstdDictionaryTables(content.Content);
        compressors = new ThreadLocal<ZstdCompressor>(() => new ZstdCompressor(tables), trackAllValues: true);
        Reader = DictionaryCache.Of(content);
    }

    /// <summary>What frames are unpacked with, in the store or not yet.</summary>
    public StoredDictionary Content { get; }

    /// <summary>Knows this one alone.</summary>
    public DictionaryCache Reader { get; }

    /// <summary>Packs.</summary>
    /// <returns>Bytes written.</returns>
    public int Wrap(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        var length = compressors.Value!.WrapWithDictionary(source, destination);
        GC.KeepAlive(Content);
        return length;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var compressor in compressors.Values) compressor.Dispose();
        compressors.Dispose();
        tables.Dispose();
    }
}
