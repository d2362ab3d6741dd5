using Crstore.Model;
using Crstore.Store.Writing;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class FreshChunksTests
{
    [Fact]
    public void Every_address_is_found_by_its_ordinal_and_no_other_one_is()
    {
        var random = Seeds.Random();
        var chunks = new FreshChunks();
        var model = new Dictionary<ContentHash, uint>();
        for (var i = 0; i < 50_000; i++)
        {
            // Some differ in their last word alone, some share the words that the table looks at.
            var hash = new ContentHash((ulong)random.Next(200), 7, (ulong)random.Next(10), (ulong)random.Next(100));
            if (i % 2 == 0) hash = hash with { A = (ulong)random.NextInt64() };
            Assert.Equal(model.TryGetValue(hash, out var expected), chunks.TryFind(hash, out var found));
            if (model.TryAdd(hash, chunks.Count)) chunks.TryAdd(hash, out _);
            else Assert.Equal(expected, found);
        }

        Assert.Equal((uint)model.Count, chunks.Count);
        foreach (var (hash, ordinal) in model)
        {
            Assert.True(chunks.TryFind(hash, out var found));
            Assert.Equal(ordinal, found);
            Assert.Equal(hash, chunks[ordinal]);
        }
    }

    [Fact]
    public void They_sort_as_the_stored_keys_do()
    {
        var random = Seeds.Random();
        var chunks = new FreshChunks();
        var keys = new List<byte[]>();
        for (var i = 0; i < 20_000; i++)
        {
            var hash = new ContentHash(random.Next(2) == 0 ? 5 : (ulong)random.NextInt64(long.MinValue, long.MaxValue), (ulong)random.Next(3), (ulong)random.Next(3), (ulong)i);
            chunks.TryAdd(hash, out _);
            var key = new byte[ContentHash.Size];
            hash.Write(key);
            keys.Add(key);
        }

        keys.Sort((x, y) => x.AsSpan().SequenceCompareTo(y));
        Assert.Equal(keys, chunks.Sorted().Select(ordinal =>
        {
            var key = new byte[ContentHash.Size];
            chunks[ordinal].Write(key);
            return key;
        }));
    }

    [Fact]
    public void A_million_take_little_more_than_their_addresses()
    {
        const int Count = 1_000_000;
        var before = GC.GetAllocatedBytesForCurrentThread();
        var chunks = new FreshChunks();
        for (var i = 0; i < Count; i++) chunks.TryAdd(new ContentHash((ulong)i * 0x9e3779b97f4a7c15, 0, 0, 0), out _);
        Assert.Equal(Count, chunks.Sorted().Length);
        var bytes = GC.GetAllocatedBytesForCurrentThread() - before; // all that was ever allocated, tables outgrown as well
        Assert.InRange(bytes / Count, ContentHash.Size, ContentHash.Size + 32);
    }
}
