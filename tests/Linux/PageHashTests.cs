using System.Security.Cryptography;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Linux;

public sealed class PageHashTests
{
    private const int Pages = 40; // two full rounds of sixteen, and some that are left over

    [Theory] // told whether side by side: by itself it depends on the processor
    [InlineData(16, false)]
    [InlineData(15, false)]
    [InlineData(40, false)]
    [InlineData(11, true)]
    [InlineData(15, true)]
    [InlineData(16, true)]
    [InlineData(17, true)]
    [InlineData(28, true)]
    [InlineData(40, true)]
    public void A_batch_has_the_addresses_that_each_page_has_alone(int count, bool wide)
    {
        Requires.That(!wide || WidePageHash.IsSupported, "a processor with AVX-512F and AVX-512BW");
        var memory = Memory();
        var numbers = Enumerable.Range(0, Pages).Reverse().Take(count).ToArray();
        var hashes = new ContentHash[Pages];
        PageHash.Of(memory, numbers, hashes, wide);
        for (var page = 0; page < Pages; page++)
            Assert.Equal(numbers.Contains(page) ? Expected(memory, page) : default, hashes[page]);
    }

    [Fact]
    public void Sixteen_pages_side_by_side_have_the_addresses_that_each_has_alone()
    {
        Requires.That(WidePageHash.IsSupported, "a processor with AVX-512F and AVX-512BW");
        var memory = Memory();
        int[][] orders = [.. Enumerable.Range(0, WidePageHash.Lanes).Select(turn => // each page in each lane
            Enumerable.Range(0, WidePageHash.Lanes).Select(lane => (lane + turn) % WidePageHash.Lanes).ToArray()),
            [.. Enumerable.Range(0, WidePageHash.Lanes).Select(lane => Pages - 1 - 2 * lane)], [.. Enumerable.Repeat(7, WidePageHash.Lanes)],
            [.. Enumerable.Range(20, WidePageHash.Least)], [5]]; // some lanes are empty
        foreach (var order in orders)
        {
            var hashes = new ContentHash[Pages];
            Wide(memory, order, hashes);
            for (var page = 0; page < Pages; page++) Assert.Equal(order.Contains(page) ? Expected(memory, page) : default, hashes[page]);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(12)]
    [InlineData(16)]
    [InlineData(40)]
    public void Consecutive_pages_have_the_addresses_that_each_has_alone(int count)
    {
        var memory = Memory();
        var hashes = new ContentHash[count];
        PageHash.Of(memory, hashes);
        Assert.Equal(Enumerable.Range(0, count).Select(page => Expected(memory, page)), hashes);
    }

    [Theory]
    [InlineData(false, Pages)]
    [InlineData(true, Pages)]
    [InlineData(true, -1)]
    public void Pages_that_are_not_there_are_not_hashed(bool wide, int page)
    {
        var memory = Memory();
        Assert.Throws<ArgumentOutOfRangeException>(() => PageHash.Of(memory, [.. Enumerable.Range(0, 15), page], new ContentHash[Pages + 1], wide));
    }

    private static unsafe void Wide(byte[] memory, int[] pages, ContentHash[] hashes)
    {
        fixed (byte* from = memory) WidePageHash.Of(from, pages, hashes);
    }

    // Random pages, one of zeros and one of ones among them.
    private static byte[] Memory()
    {
        var memory = new byte[Pages * VirtualPage.Size];
        new Random(1).NextBytes(memory);
        memory.AsSpan(3 * VirtualPage.Size, VirtualPage.Size).Clear();
        memory.AsSpan(4 * VirtualPage.Size, VirtualPage.Size).Fill(0xff);
        return memory;
    }

    private static ContentHash Expected(byte[] memory, int page) => ContentHash.Read(SHA256.HashData(memory.AsSpan(page * VirtualPage.Size, VirtualPage.Size)));
}
