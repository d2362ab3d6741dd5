using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Crstore.Tests.Support;

/// <summary>What a page of a target must hold, as its "expect" command wrote it down.</summary>
/// <param name="Address">Page address.</param>
/// <param name="Generation">When it was written; 0: all zero.</param>
/// <param name="Key">Third input of the formula.</param>
public readonly record struct ExpectedPage(ulong Address, ulong Generation, ulong Key);

/// <summary>The formula of tests/Targets/target.h: page content from (seed, generation, key).</summary>
public static class Pattern
{
    private const ulong Magic = 0x43525354504147;

    /// <summary>Fills a page.</summary>
    public static void Fill(Span<byte> page, ulong seed, ulong generation, ulong key)
    {
        page.Clear();
        if (generation == 0) return;
        var words = MemoryMarshal.Cast<byte, ulong>(page);
        (words[0], words[1], words[2], words[3]) = (Magic, seed, generation, key);
        var start = Mix(seed) ^ Mix(generation + 0x1000000) ^ Mix(key + 0x2000000000);
        for (var i = 4; i < words.Length; i++)
        {
            var word = Mix(start ^ (ulong)i);
            words[i] = (i & 1) != 0 ? word : word & 0xffff;
        }
    }

    /// <summary>True if the page holds what it must.</summary>
    public static bool Matches(ReadOnlySpan<byte> page, ulong seed, ExpectedPage expected)
    {
        Span<byte> wanted = stackalloc byte[4096];
        Fill(wanted, seed, expected.Generation, expected.Key);
        return page.SequenceEqual(wanted);
    }

    /// <summary>The file that "expect FILE" wrote, in address order.</summary>
    public static IReadOnlyList<ExpectedPage> ReadExpectations(string path)
    {
        var bytes = File.ReadAllBytes(path);
        var pages = new List<ExpectedPage>(bytes.Length / 24);
        for (var i = 0; i < bytes.Length; i += 24)
            pages.Add(new ExpectedPage(Word(i), Word(i + 8), Word(i + 16)));
        pages.Sort((a, b) => a.Address.CompareTo(b.Address));
        return pages;

        ulong Word(int at) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(at));
    }

    private static ulong Mix(ulong x)
    {
        x += 0x9e3779b97f4a7c15;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
        x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
        return x ^ (x >> 31);
    }
}
