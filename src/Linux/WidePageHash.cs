using System.Diagnostics;
using System.Runtime.InteropServices;
using Crstore.Model;

namespace Crstore.Linux;

/// <summary>Content addresses of up to sixteen pages side by side (Native/wide_sha256.c), where that is quicker than one by one.</summary>
internal static unsafe partial class WidePageHash
{
    /// <summary>Pages at a time.</summary>
    public const int Lanes = 16;

    /// <summary>Fewer are hashed one by one: a round takes as long with empty lanes.</summary>
    public const int Least = 12;

    private const string Library = "crstore_wide";
    private const int Words = 8; // of a digest, of 32 bits
    private const int Unknown = 0, OnTrial = 1, Better = 2, Worse = 3;
    private static volatile int verdict;

    /// <summary>The processor has what it takes.</summary>
    public static bool IsSupported => Supported() != 0;

    /// <summary>
    /// It is possible, right, and quicker: tried by whoever asks first, in about a millisecond.
    /// </summary>
    public static bool IsBetter
    {
        get
        {
            if (verdict == Unknown && Interlocked.CompareExchange(ref verdict, OnTrial, Unknown) == Unknown) verdict = IsSupported && IsRightAndQuicker() ? Better : Worse;
            return verdict == Better; // others go on one by one meanwhile
        }
    }

    /// <summary>Hashes pages, <see cref="Lanes"/> at most.</summary>
    /// <param name="memory">Where the pages are.</param>
    /// <param name="pages">Which ones: numbers of pages from there.</param>
    /// <param name="hashes">Their content addresses, by the same numbers.</param>
    public static void Of(byte* memory, ReadOnlySpan<int> pages, Span<ContentHash> hashes)
    {
        if (pages.Length is < 1 or > Lanes) throw new ArgumentException($"{pages.Length} pages for {Lanes} lanes", nameof(pages));
        var from = stackalloc byte*[Lanes];
        for (var lane = 0; lane < Lanes; lane++) from[lane] = memory + (long)pages[lane < pages.Length ? lane : 0] * VirtualPage.Size;
        var words = stackalloc uint[Words * Lanes];
        Hash(from, words);
        for (var lane = 0; lane < pages.Length; lane++)
            hashes[pages[lane]] = new ContentHash(Two(words, 0, lane), Two(words, 2, lane), Two(words, 4, lane), Two(words, 6, lane));
    }

    private static ulong Two(uint* words, int word, int lane) => ((ulong)words[word * Lanes + lane] << 32) | words[(word + 1) * Lanes + lane];

    private static bool IsRightAndQuicker()
    {
        const int Tries = 12; // one of them undisturbed on a busy machine
        var pages = new byte[Lanes * VirtualPage.Size];
        for (var i = 0; i < pages.Length; i++) pages[i] = (byte)(i * 7 + (i >> 8));
        Span<int> numbers = stackalloc int[Lanes];
        for (var i = 0; i < numbers.Length; i++) numbers[i] = i;
        var (one, side) = (new ContentHash[Lanes], new ContentHash[Lanes]);
        var (ofOne, ofSide) = (TimeSpan.MaxValue, TimeSpan.MaxValue);
        for (var i = 0; i < Tries; i++)
        {
            var began = Stopwatch.GetTimestamp();
            for (var page = 0; page < one.Length; page++) one[page] = PageHash.Of(pages.AsSpan(page * VirtualPage.Size, VirtualPage.Size));
            var between = Stopwatch.GetTimestamp();
            fixed (byte* from = pages) Of(from, numbers, side);
            (ofOne, ofSide) = (Shorter(ofOne, Stopwatch.GetElapsedTime(began, between)), Shorter(ofSide, Stopwatch.GetElapsedTime(between)));
        }

        return one.AsSpan().SequenceEqual(side) && ofSide < ofOne;

        static TimeSpan Shorter(TimeSpan a, TimeSpan b) => a < b ? a : b;
    }

    [LibraryImport(Library, EntryPoint = "crstore_wide_sha256_supported")]
    private static partial int Supported();

    [LibraryImport(Library, EntryPoint = "crstore_wide_sha256")]
    private static partial void Hash(byte** from, uint* digests);
}
