using Crstore.Store.Native;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Codecs;

public sealed class ZstdTests
{
    private const int Size = 16 * 4096;
    private readonly byte[] room = new byte[ZstdCompressor.Bound(Size)];

    [Fact]
    public void Letters_without_a_repetition_shrink_although_the_fast_way_looks_at_fewer_places()
    {
        var letters = new byte[Size];
        var random = Seeds.Random();
        for (var i = 0; i < Size; i++) letters[i] = (byte)('a' + random.Next(16)); // four bits of news each: nothing but a code for literals gains anything
        using var zstd = new ZstdCompressor();
        Assert.InRange(zstd.WrapFast(letters, room), Size / 2, Size * 6 / 10);
    }

    [Fact]
    public void The_fast_way_takes_some_more_than_level_one_and_no_more()
    {
        var text = Text(Seeds.Random());
        using var zstd = new ZstdCompressor();
        var level = zstd.Wrap(text, room, 1);
        Assert.InRange(level, 1, Size / 2);
        Assert.InRange(zstd.WrapFast(text, room), level * 21 / 20, level * 5 / 4);
    }

    [Fact]
    public void What_a_compressor_has_done_before_changes_nothing()
    {
        var random = Seeds.Random();
        using var used = new ZstdCompressor();
        for (var round = 0; round < 20; round++)
        {
            var text = Text(random).AsSpan(0, random.Next(1, Size + 1));
            using var fresh = new ZstdCompressor();
            var level = random.Next(5) switch { 0 => 19, 1 => 3, 2 => 1, _ => 0 };
            var ours = room[..(level == 0 ? used.WrapFast(text, room) : used.Wrap(text, room, level))];
            var theirs = new byte[room.Length];
            Assert.Equal(theirs[..(level == 0 ? fresh.WrapFast(text, theirs) : fresh.Wrap(text, theirs, level))], ours);
            var back = new byte[text.Length];
            using var unpacker = new ZstdDecompressor();
            Assert.Equal(back.Length, unpacker.Unwrap(ours, back, out var error));
            Assert.Equal("", error);
            Assert.True(text.SequenceEqual(back));
        }
    }

    [Fact]
    public void What_does_not_fit_is_an_error_and_not_half_a_frame()
    {
        var random = new byte[Size];
        Seeds.Random().NextBytes(random);
        using var zstd = new ZstdCompressor();
        Assert.Throws<Crstore.Model.EnvironmentException>(() => zstd.WrapFast(random, room.AsSpan(0, Size / 2)));
        Assert.InRange(zstd.WrapFast(random, room), Size, room.Length);
    }

    // Words of a small language, as heaps have them.
    private static byte[] Text(Random random)
    {
        var words = Enumerable.Range(0, 500).Select(_ => new string([.. Enumerable.Range(0, random.Next(2, 12)).Select(_ => (char)('a' + random.Next(20)))])).ToArray();
        var text = new List<byte>(Size + 16);
        while (text.Count < Size)
        {
            text.AddRange(words[random.Next(words.Length)].Select(c => (byte)c));
            text.Add((byte)' ');
        }

        return [.. text.Take(Size)];
    }
}
