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
