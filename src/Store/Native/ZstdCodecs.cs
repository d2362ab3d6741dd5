using System.Runtime.InteropServices;
using Crstore.Model;

namespace Crstore.Store.Native;

/// <summary>
/// Compresses with zstd. Shaped like ZstdSharp.Compressor, so that the package can take its place. Not thread safe:
/// <see cref="ThisThread"/> gives each thread its own, whose context (about 1.3 MiB at level 1) is reused.
/// </summary>
public sealed class ZstdCompressor : IDisposable
{
    [ThreadStatic]
    private static ZstdCompressor? _thisThread;

    private const int CompressionLevel = 100, HashLog = 102, TargetLength = 106; // ZSTD_cParameter, zstd.h
    private const int AttachDictionary = 1001, Always = 1; // of its experimental part since 1.3.5; ZSTD_dictForceAttach: else its tables are copied for each frame
    private const int LiteralCompressionMode = 1002, Huffman = 1; // the same, of its experimental part since 1.4; ZSTD_ps_enable
    private readonly ZstdCompressionContext _context = new();
    private readonly bool _isFast;

    /// <summary>A context of its own.</summary>
    public ZstdCompressor() => _isFast = Set(LiteralCompressionMode, Huffman) && Set(CompressionLevel, 1) && Set(HashLog, 11) && Set(TargetLength, 2);

    /// <summary>A context of its own, with a dictionary: <see cref="WrapWithDictionary"/> is all that it can do.</summary>
    internal ZstdCompressor(ZstdDictionaryTables tables)
    {
        var result = ZstdNative.ZSTD_CCtx_refCDict(_context, tables);
        if (ZstdNative.ZSTD_isError(result) != 0) throw new EnvironmentException($"ZSTD_CCtx_refCDict: {ZstdNative.ErrorName(result)}");
        Set(AttachDictionary, Always);
    }

    /// <summary>The calling thread's compressor; never dispose it.</summary>
    public static ZstdCompressor ThisThread => _thisThread ??= new ZstdCompressor();

    /// <summary>The library's version, like "1.5.4".</summary>
    /// <exception cref="EnvironmentException">The library is missing.</exception>
    public static string LibraryVersion
    {
        get
        {
            var number = ZstdNative.Guard(ZstdNative.ZSTD_versionNumber);
            return $"{number / 10000}.{number / 100 % 100}.{number % 100}";
        }
    }

    /// <summary>True if the library knows the level.</summary>
    public static bool IsLevel(int level) =>
        level >= ZstdNative.Guard(ZstdNative.ZSTD_minCLevel) && level <= ZstdNative.Guard(ZstdNative.ZSTD_maxCLevel);

    /// <summary>The most bytes that <paramref name="size"/> bytes can take.</summary>
    public static int Bound(int size) => (int)ZstdNative.Guard(() => ZstdNative.ZSTD_compressBound((nuint)size));

    /// <summary>Compresses into one zstd frame.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="EnvironmentException">The library refused (no memory).</exception>
    public int Wrap(ReadOnlySpan<byte> source, Span<byte> destination, int level)
    {
        var result = ZstdNative.ZSTD_compressCCtx(_context, ref MemoryMarshal.GetReference(destination), (nuint)destination.Length,
            in MemoryMarshal.GetReference(source), (nuint)source.Length, level); // ignores what was set
        return ZstdNative.ZSTD_isError(result) == 0 ? (int)result
            : throw new EnvironmentException($"ZSTD_compressCCtx of {source.Length} bytes at level {level}: {ZstdNative.ErrorName(result)}");
    }

    /// <summary>
    /// Compresses into one zstd frame as level 1 does, but looks for a match at two of three places only, and remembers 2048 of them instead of 8192, which
    /// leaves the processor's first cache to the pages: 1.2 to 1.5 times as fast for 5 to 11 % more bytes (docs/PERFORMANCE.md). A library that would store all literals as they are then, as its negative levels do, compresses at level 1.
    /// </summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="EnvironmentException">The library refused (no memory).</exception>
    public int WrapFast(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        return _isFast ? WrapAsSet(source, destination) : Wrap(source, destination, 1);
    }

    /// <summary>Compresses into one zstd frame that only the same dictionary unpacks.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="EnvironmentException">The library refused (no memory).</exception>
    internal int WrapWithDictionary(ReadOnlySpan<byte> source, Span<byte> destination) => WrapAsSet(source, destination);

    private int WrapAsSet(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        var result = ZstdNative.ZSTD_compress2(_context, ref MemoryMarshal.GetReference(destination), (nuint)destination.Length,
            in MemoryMarshal.GetReference(source), (nuint)source.Length);
        return ZstdNative.ZSTD_isError(result) == 0 ? (int)result
            : throw new EnvironmentException($"ZSTD_compress2 of {source.Length} bytes: {ZstdNative.ErrorName(result)}");
    }

    /// <inheritdoc/>
    public void Dispose() => _context.Dispose();

    private bool Set(int parameter, int value) => ZstdNative.ZSTD_isError(ZstdNative.ZSTD_CCtx_setParameter(_context, parameter, value)) == 0;
}

/// <summary>Decompresses zstd. Shaped like ZstdSharp.Decompressor. Not thread safe.</summary>
public sealed class ZstdDecompressor : IDisposable
{
    [ThreadStatic]
    private static ZstdDecompressor? _thisThread;

    private readonly ZstdDecompressionContext _context = new();

    /// <summary>The calling thread's decompressor; never dispose it.</summary>
    public static ZstdDecompressor ThisThread => _thisThread ??= new ZstdDecompressor();

    /// <summary>Decompresses one zstd frame; never writes beyond the destination.</summary>
    /// <param name="source">The frame.</param>
    /// <param name="destination">Where to.</param>
    /// <param name="error">Why it failed.</param>
    /// <returns>Bytes written, or -1 with an error: the bytes are damaged, or would not fit.</returns>
    public int Unwrap(ReadOnlySpan<byte> source, Span<byte> destination, out string error)
    {
        error = "";
        return Checked(ZstdNative.ZSTD_decompressDCtx(_context, ref MemoryMarshal.GetReference(destination), (nuint)destination.Length,
            in MemoryMarshal.GetReference(source), (nuint)source.Length), ref error);
    }

    /// <summary>The same of a frame that was made with a dictionary. With another one, or a damaged one, something else may come out.</summary>
    /// <param name="source">The frame.</param>
    /// <param name="destination">Where to.</param>
    /// <param name="dictionary">Content, which must not begin as a trained dictionary does.</param>
    /// <param name="error">Why it failed.</param>
    /// <returns>Bytes written, or -1 with an error.</returns>
    internal int Unwrap(ReadOnlySpan<byte> source, Span<byte> destination, ReadOnlySpan<byte> dictionary, out string error)
    {
        error = "";
        return Checked(ZstdNative.ZSTD_decompress_usingDict(_context, ref MemoryMarshal.GetReference(destination), (nuint)destination.Length,
            in MemoryMarshal.GetReference(source), (nuint)source.Length, in MemoryMarshal.GetReference(dictionary), (nuint)dictionary.Length), ref error);
    }

    private static int Checked(nuint result, ref string error)
    {
        if (ZstdNative.ZSTD_isError(result) == 0) return (int)result;
        error = ZstdNative.ErrorName(result);
        return -1;
    }

    /// <inheritdoc/>
    public void Dispose() => _context.Dispose();
}
