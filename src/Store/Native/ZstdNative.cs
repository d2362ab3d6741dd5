using System.Runtime.InteropServices;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.Native;

/// <summary>What crstore uses of libzstd 1.4 or later (zstd.h, "Explicit context").</summary>
internal static partial class ZstdNative
{
    private const string Library = "libzstd.so.1";

    [LibraryImport(Library)]
    internal static partial nint ZSTD_createCCtx();

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_freeCCtx(nint context);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_compressCCtx(ZstdCompressionContext context, ref byte destination, nuint capacity,
        ref readonly byte source, nuint size, int level);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_CCtx_setParameter(ZstdCompressionContext context, int parameter, int value);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_compress2(ZstdCompressionContext context, ref byte destination, nuint capacity,
        ref readonly byte source, nuint size);

    [LibraryImport(Library)]
    internal static partial nint ZSTD_createDCtx();

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_freeDCtx(nint context);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_decompressDCtx(ZstdDecompressionContext context, ref byte destination, nuint capacity,
        ref readonly byte source, nuint size);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_decompress_usingDict(ZstdDecompressionContext context, ref byte destination, nuint capacity,
        ref readonly byte source, nuint size, ref readonly byte dictionary, nuint dictionarySize);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_CCtx_refCDict(ZstdCompressionContext context, ZstdDictionaryTables tables);

    // Of its experimental part, since 1.3: the one way to say that a dictionary is content and nothing else, and how its tables are to be.
    [LibraryImport(Library)]
    internal static partial nint ZSTD_createCDict_advanced(ref readonly byte dictionary, nuint size, int loadMethod, int contentType, ZstdParameters parameters, ZstdMemory memory);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_freeCDict(nint tables);

    [LibraryImport(Library)]
    internal static partial uint ZSTD_isError(nuint result);

    [LibraryImport(Library)]
    internal static partial nint ZSTD_getErrorName(nuint result);

    [LibraryImport(Library)]
    internal static partial nuint ZSTD_compressBound(nuint size);

    [LibraryImport(Library)]
    internal static partial uint ZSTD_versionNumber();

    [LibraryImport(Library)]
    internal static partial int ZSTD_minCLevel();

    [LibraryImport(Library)]
    internal static partial int ZSTD_maxCLevel();

    internal static string ErrorName(nuint result) => Marshal.PtrToStringUTF8(ZSTD_getErrorName(result)) ?? "unknown error";

    /// <summary>The environment's refusal when the library can't be loaded.</summary>
    internal static EnvironmentException Missing(Exception inner) => new($"{Library} can't be loaded: {inner.Message}",
        "apt-get install libzstd1", inner);

    /// <summary>Runs something that loads the library, and turns its absence into <see cref="EnvironmentException"/>.</summary>
    internal static T Guard<T>(Func<T> call)
    {
        try
        {
            return call();
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            throw Missing(e);
        }
    }
}

/// <summary>A ZSTD_CCtx.</summary>
internal sealed class ZstdCompressionContext : SafeHandleZeroOrMinusOneIsInvalid
{
    internal ZstdCompressionContext() : base(true)
    {
        SetHandle(ZstdNative.Guard(ZstdNative.ZSTD_createCCtx));
        if (IsInvalid) throw new EnvironmentException("ZSTD_createCCtx: out of memory");
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => ZstdNative.ZSTD_isError(ZstdNative.ZSTD_freeCCtx(handle)) == 0;
}

/// <summary>A ZSTD_DCtx.</summary>
internal sealed class ZstdDecompressionContext : SafeHandleZeroOrMinusOneIsInvalid
{
    internal ZstdDecompressionContext() : base(true)
    {
        SetHandle(ZstdNative.Guard(ZstdNative.ZSTD_createDCtx));
        if (IsInvalid) throw new EnvironmentException("ZSTD_createDCtx: out of memory");
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => ZstdNative.ZSTD_isError(ZstdNative.ZSTD_freeDCtx(handle)) == 0;
}

/// <summary>ZSTD_compressionParameters (zstd.h).</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct ZstdParameters(uint WindowLog, uint ChainLog, uint HashLog, uint SearchLog, uint MinMatch, uint TargetLength, int Strategy);

/// <summary>ZSTD_customMem (zstd.h): all zero for malloc.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct ZstdMemory(nint Allocate, nint Free, nint Opaque);

/// <summary>A ZSTD_CDict: tables over a dictionary, which it refers to. Any number of threads may use it.</summary>
internal sealed class ZstdDictionaryTables : SafeHandleZeroOrMinusOneIsInvalid
{
    private const int ByReference = 1, RawContent = 1; // ZSTD_dlm_byRef, ZSTD_dct_rawContent

    // About level 16, with tables of 200 MB over the largest dictionary (docs/PERFORMANCE.md). 8: ZSTD_btultra.
    private static readonly ZstdParameters Parameters = new(WindowLog: 26, ChainLog: 25, HashLog: 24, SearchLog: 4, MinMatch: 6, TargetLength: 64, Strategy: 8);

    /// <summary>Makes the tables.</summary>
    /// <param name="dictionary">Must stay where it is as long as they are used.</param>
    internal ZstdDictionaryTables(ReadOnlySpan<byte> dictionary) : base(true)
    {
        SetHandle(ZstdNative.ZSTD_createCDict_advanced(in MemoryMarshal.GetReference(dictionary), (nuint)dictionary.Length, ByReference, RawContent, Parameters, default));
        if (IsInvalid) throw new EnvironmentException($"ZSTD_createCDict_advanced: no memory for the tables of a dictionary of {dictionary.Length} bytes");
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => ZstdNative.ZSTD_isError(ZstdNative.ZSTD_freeCDict(handle)) == 0;
}
