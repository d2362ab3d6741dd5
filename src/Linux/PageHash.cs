using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Crstore.Model;

namespace Crstore.Linux;

/// <summary>
/// Content addresses of pages: SHA-256 by the plain functions of the libcrypto that .NET uses too, SHA256_Init(3): what .NET and EVP_Digest(3) do around them costs
/// a quarter of the time of a page (measured: 0.357 against 0.465 s for 512 MiB). Where they are missing, .NET's own.
/// Who has hashed many pages gets what follows sixteen at a time (<see cref="WidePageHash"/>), if this processor can, and is quicker that way.
/// </summary>
public static unsafe partial class PageHash
{
    private const string Library = "libcrypto.so.3";
    private const int ContextSize = 112; // sizeof(SHA256_CTX), openssl/sha.h
    private const int ManyPages = 4096; // 16 MiB: who has hashed as many is likely to go on long enough to gain more than the compiling takes
    private static readonly bool IsThere = Find();
    private static volatile bool wide;
    private static int counted;

    /// <summary>Hashes one page.</summary>
    public static ContentHash Of(ReadOnlySpan<byte> page)
    {
        Span<byte> digest = stackalloc byte[ContentHash.Size];
        if (IsThere) Run(page, digest);
        else SHA256.HashData(page, digest);
        return ContentHash.Read(digest);
    }

    /// <summary>Hashes pages.</summary>
    /// <param name="memory">Where they are.</param>
    /// <param name="pages">Which ones: numbers of pages from there.</param>
    /// <param name="hashes">Their content addresses, by the same numbers.</param>
    public static void Of(ReadOnlySpan<byte> memory, ReadOnlySpan<int> pages, Span<ContentHash> hashes)
    {
        if (wide)
        {
            var last = (uint)(memory.Length / VirtualPage.Size);
            foreach (var page in pages) ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)page, last, nameof(pages)); // sixteen at a time nobody else would notice
            fixed (byte* from = memory)
                for (; pages.Length >= WidePageHash.Lanes; pages = pages[WidePageHash.Lanes..])
                    WidePageHash.Of(from, pages[..WidePageHash.Lanes], hashes);
        }
        else if (counted < ManyPages && Interlocked.Add(ref counted, pages.Length) is var all && all >= ManyPages && all - pages.Length < ManyPages)
        {
            PrepareWide();
        }

        foreach (var page in pages) hashes[page] = Of(memory.Slice(page * VirtualPage.Size, VirtualPage.Size));
    }

    // Beside those that hash meanwhile in the ordinary way.
    private static void PrepareWide()
    {
        try
        {
            new Thread(static () => wide = IsWideBetter()) { IsBackground = true, Name = "crstore hash" }.Start();
        }
        catch (OutOfMemoryException)
        {
            // No thread to be had (pids.max, RLIMIT_NPROC).
        }
    }

    /// <summary>Sixteen pages at a time is possible, right, and quicker. Takes the JIT some 10 ms.</summary>
    private static bool IsWideBetter()
    {
        if (!WidePageHash.IsSupported) return false;
        const int Tries = 8;
        var pages = new byte[WidePageHash.Lanes * VirtualPage.Size];
        for (var i = 0; i < pages.Length; i++) pages[i] = (byte)(i * 7 + i / 251);
        Span<int> numbers = stackalloc int[WidePageHash.Lanes];
        for (var i = 0; i < numbers.Length; i++) numbers[i] = i;
        var (one, side) = (new ContentHash[WidePageHash.Lanes], new ContentHash[WidePageHash.Lanes]);
        var (ofOne, ofSide) = (TimeSpan.MaxValue, TimeSpan.MaxValue);
        for (var i = 0; i < Tries; i++)
        {
            var began = Stopwatch.GetTimestamp();
            for (var page = 0; page < one.Length; page++) one[page] = Of(pages.AsSpan(page * VirtualPage.Size, VirtualPage.Size));
            var between = Stopwatch.GetTimestamp();
            fixed (byte* from = pages) WidePageHash.Of(from, numbers, side);
            (ofOne, ofSide) = (Least(ofOne, Stopwatch.GetElapsedTime(began, between)), Least(ofSide, Stopwatch.GetElapsedTime(between)));
        }

        return one.AsSpan().SequenceEqual(side) && ofSide < ofOne;

        static TimeSpan Least(TimeSpan a, TimeSpan b) => a < b ? a : b;
    }

    private static void Run(ReadOnlySpan<byte> bytes, Span<byte> digest)
    {
        if (digest.Length != ContentHash.Size) throw new ArgumentException($"{digest.Length} bytes for a digest", nameof(digest));
        var context = stackalloc ulong[ContextSize / sizeof(ulong)];
        fixed (byte* from = bytes, to = digest)
        {
            // These fail for no reason but a broken context.
            if (Init(context) != 1 || Update(context, from, (nuint)bytes.Length) != 1 || Final(to, context) != 1)
                throw new InvalidOperationException("SHA256_Update failed");
        }
    }

    // SHA-256 of nothing, FIPS 180-4: a library that says something else isn't what it is called.
    private static bool Find()
    {
        if (!NativeLibrary.TryLoad(Library, out var library)) return false;
        foreach (var name in new[] { "SHA256_Init", "SHA256_Update", "SHA256_Final" })
            if (!NativeLibrary.TryGetExport(library, name, out _)) return false;
        Span<byte> digest = stackalloc byte[ContentHash.Size];
        Run(default, digest);
        return ContentHash.Read(digest).A == 0xe3b0c44298fc1c14;
    }

    [LibraryImport(Library, EntryPoint = "SHA256_Init")]
    private static partial int Init(ulong* context);

    [LibraryImport(Library, EntryPoint = "SHA256_Update")]
    private static partial int Update(ulong* context, byte* bytes, nuint length);

    [LibraryImport(Library, EntryPoint = "SHA256_Final")]
    private static partial int Final(byte* digest, ulong* context);
}
