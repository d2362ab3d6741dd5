using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Crstore.Model;

namespace Crstore.Linux;

/// <summary>
/// Content addresses of pages: SHA-256 by the plain functions of the libcrypto that .NET uses too, SHA256_Init(3): what .NET and EVP_Digest(3) do around them costs
/// a quarter of the time of a page (measured: 0.357 against 0.465 s for 512 MiB). Where they are missing, .NET's own.
/// Pages that come together are hashed sixteen at a time (<see cref="WidePageHash"/>), if this processor can, and is quicker that way.
/// </summary>
public static unsafe partial class PageHash
{
    private const string Library = "libcrypto.so.3";
    private const int ContextSize = 112; // sizeof(SHA256_CTX), openssl/sha.h
    private static readonly bool IsThere = Find();

    /// <summary>Hashes one page.</summary>
    public static ContentHash Of(ReadOnlySpan<byte> page)
    {
        Span<byte> digest = stackalloc byte[ContentHash.Size];
        if (IsThere) Run(page, digest);
        else SHA256.HashData(page, digest);
        return ContentHash.Read(digest);
    }

    /// <summary>Hashes consecutive pages.</summary>
    public static void Of(ReadOnlySpan<byte> memory, Span<ContentHash> hashes)
    {
        Span<int> pages = stackalloc int[WidePageHash.Lanes];
        for (var done = 0; done < hashes.Length; done += pages.Length)
        {
            var some = pages[..Math.Min(pages.Length, hashes.Length - done)];
            for (var i = 0; i < some.Length; i++) some[i] = done + i;
            Of(memory, some, hashes);
        }
    }

    /// <summary>Hashes pages.</summary>
    /// <param name="memory">Where they are.</param>
    /// <param name="pages">Which ones: numbers of pages from there.</param>
    /// <param name="hashes">Their content addresses, by the same numbers.</param>
    public static void Of(ReadOnlySpan<byte> memory, ReadOnlySpan<int> pages, Span<ContentHash> hashes) =>
        Of(memory, pages, hashes, wide: pages.Length >= WidePageHash.Least && WidePageHash.IsBetter);

    /// <summary>The same, told whether side by side.</summary>
    internal static void Of(ReadOnlySpan<byte> memory, ReadOnlySpan<int> pages, Span<ContentHash> hashes, bool wide)
    {
        if (wide)
        {
            var last = (uint)(memory.Length / VirtualPage.Size);
            foreach (var page in pages) ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)page, last, nameof(pages)); // side by side nobody else would notice
            fixed (byte* from = memory)
            {
                while (pages.Length >= WidePageHash.Least)
                {
                    var some = pages[..Math.Min(pages.Length, WidePageHash.Lanes)];
                    WidePageHash.Of(from, some, hashes);
                    pages = pages[some.Length..];
                }
            }
        }

        foreach (var page in pages) hashes[page] = Of(memory.Slice(page * VirtualPage.Size, VirtualPage.Size));
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
