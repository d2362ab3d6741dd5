using Crstore.Model;
using Crstore.Store.Writing;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class FreshChunksTests : IDisposable
{
    private const uint Everything = 1 << 20, AFew = HashLog.PieceSize;
    private readonly TempDir directory = new("crstore-hashes-");

    [Theory]
    [InlineData(Everything)]
    [InlineData(AFew)] // the others are in the file
    [InlineData(0u)]
    public void Every_address_is_found_by_its_ordinal_and_no_other_one_is(uint inMemory)
    {
        var random = Seeds.Random();
        using var chunks = New(inMemory);
        var model = new Dictionary<ContentHash, uint>();
        for (var i = 0; i < 16_000; i++)
        {
            // Many differ in one word alone, so that they share their place in the table, what it knows of them, or both.
            var hash = new ContentHash((ulong)random.Next(2000), 7, (ulong)random.Next(3), (ulong)random.Next(3));
            if (i % 2 == 0) hash = hash with { A = (ulong)random.NextInt64() };
            Assert.Equal(model.TryGetValue(hash, out var expected), chunks.TryFind(hash, out var found));
            if (model.TryAdd(hash, chunks.Count)) Assert.True(chunks.TryAdd(hash, out expected));
            else Assert.False(chunks.TryAdd(hash, out found));
            Assert.Equal(model[hash], expected);
            if (found != uint.MaxValue) Assert.Equal(expected, found);
        }

        Assert.InRange(model.Count, 2 * HashLog.PieceSize, 16_000); // some came twice, and some lie in the file whatever stays in memory but everything
        Assert.Equal((uint)model.Count, chunks.Count);
        foreach (var (hash, ordinal) in model)
        {
            Assert.True(chunks.TryFind(hash, out var found));
            Assert.Equal(ordinal, found);
            Assert.Equal(hash, chunks[ordinal]);
        }
    }

    [Fact]
    public void Addresses_that_share_all_that_the_table_knows_of_them_are_told_apart()
    {
        const uint Each = 100;
        static ContentHash Alike(uint i) => new(1, 2, 3 + ((ulong)(i & 1) << 40), i / 2); // bits 32 and up of the third word are not in the table
        using var chunks = New(0);
        for (uint i = 0; i < Each; i++) Assert.True(chunks.TryAdd(Alike(i), out _));
        for (uint i = 0; i < HashLog.PieceSize; i++) Assert.True(chunks.TryAdd(new ContentHash(i << 20, i, i, i), out _)); // those before are in the file now
        for (uint i = Each; i < 2 * Each; i++) Assert.True(chunks.TryAdd(Alike(i), out _));
        for (uint i = 0; i < 2 * Each; i++)
        {
            Assert.True(chunks.TryFind(Alike(i), out var found));
            Assert.Equal(i < Each ? i : i + HashLog.PieceSize, found);
            Assert.False(chunks.TryAdd(Alike(i), out _));
        }

        Assert.False(chunks.TryFind(Alike(2 * Each), out _));
    }

    [Theory]
    [InlineData(Everything, 1)]
    [InlineData(AFew, 1)]
    [InlineData(AFew, 3)]
    [InlineData(0u, 64)]
    public void They_sort_as_the_stored_keys_do(uint inMemory, int parts)
    {
        var random = Seeds.Random();
        using var chunks = New(inMemory);
        var keys = new List<byte[]>();
        for (var i = 0; i < 12_000; i++)
        {
            var hash = new ContentHash(random.Next(40) == 0 ? 5 : (ulong)random.NextInt64(long.MinValue, long.MaxValue), (ulong)random.Next(3), (ulong)random.Next(3), (ulong)i);
            if (i < 2) hash = hash with { A = i == 0 ? 0 : ulong.MaxValue };
            chunks.TryAdd(hash, out _);
            keys.Add(KeyOf(hash));
        }

        keys.Sort((x, y) => x.AsSpan().SequenceCompareTo(y));
        chunks.CloseTable();
        var sorted = new List<byte[]>();
        for (var part = 0; part < parts; part++)
        {
            var some = chunks.Sorted(part, parts);
            for (var i = 0; i < some.Count; i++)
            {
                Assert.Equal(chunks[some.NumberAt(i)], some.HashAt(i));
                sorted.Add(KeyOf(some.HashAt(i)));
            }
        }

        Assert.Equal(keys, sorted);
    }

    [Fact]
    public void Nothing_is_left_of_the_file()
    {
        using (var chunks = New(0))
        {
            for (uint i = 0; i < 2 * HashLog.PieceSize; i++) chunks.TryAdd(new ContentHash(i, 0, 0, 0), out _);
            Assert.Empty(Directory.EnumerateFileSystemEntries(directory.Path)); // nor would be if this process were killed now
        }
    }

    [Fact]
    public void A_full_disk_is_told_and_what_was_not_kept_is_not_found()
    {
        using var mount = Mount.Tmpfs("64k");
        using var chunks = new FreshChunks(Path.Combine(mount.Path, "hashes"), 0); // room for half of the first piece
        for (uint i = 0; i < HashLog.PieceSize; i++) chunks.TryAdd(new ContentHash(i, i, i, i), out _);
        var next = new ContentHash(HashLog.PieceSize, 0, 0, 0);
        for (var i = 0; i < 2; i++)
        {
            var e = Assert.Throws<EnvironmentException>(() => chunks.TryAdd(next, out _));
            Assert.Contains("No space left", e.Message, StringComparison.Ordinal);
            Assert.Contains("crstore forget", e.Hint, StringComparison.Ordinal);
            Assert.False(chunks.TryFind(next, out _));
            Assert.Equal((uint)HashLog.PieceSize, chunks.Count);
        }
    }

    [Fact]
    public void Addresses_that_the_disk_gives_back_wrongly_are_noticed()
    {
        using var chunks = New(0);
        for (uint i = 0; i < HashLog.PieceSize + 1; i++) chunks.TryAdd(new ContentHash(i, i, i, i), out _);
        Assert.Equal(HashLog.PieceSize + 1, chunks.Sorted(0, 1).Count);
        var ours = Directory.GetFiles("/proc/self/fd").Single(f => new FileInfo(f).LinkTarget?.StartsWith(directory.File("hashes"), StringComparison.Ordinal) == true);
        using (var file = File.OpenHandle(ours, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete))
        {
            var another = new byte[ContentHash.Size]; // an old one's, as if a write had been lost
            RandomAccess.Read(file, another, 7 * ContentHash.Size);
            RandomAccess.Write(file, another, 5 * ContentHash.Size);
        }

        Assert.Contains("hashes", Assert.Throws<EnvironmentException>(() => chunks.Sorted(0, 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void More_than_half_a_million_take_no_more_memory()
    {
        const int Count = 800_000;
        using var chunks = new FreshChunks(directory.File("hashes"), 1 << 19);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < Count; i++) chunks.TryAdd(new ContentHash((ulong)i * 0x9e3779b97f4a7c15, 0, 0, 0), out _);
        var bytes = GC.GetAllocatedBytesForCurrentThread() - before; // the table is not the garbage collector's
        Assert.InRange(bytes, 16 << 20, 20 << 20);
        Assert.InRange(chunks.Sorted(0, 4).Count, 0.95 * Count / 4, 1.05 * Count / 4);
    }

    public void Dispose() => directory.Dispose();

    private FreshChunks New(uint inMemory) => new(directory.File("hashes"), inMemory);

    private static byte[] KeyOf(ContentHash hash)
    {
        var key = new byte[ContentHash.Size];
        hash.Write(key);
        return key;
    }
}
