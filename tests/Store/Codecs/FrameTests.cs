using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Codec;
using Crstore.Store.Frames;
using FsCheck.Fluent;
using Xunit;

namespace Crstore.Tests.Store.Codecs;

public class FrameTests
{
    private static readonly FrameId Id = new(new Crid(12), 345);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4095)]
    [InlineData(4096)]
    public void A_content_address_is_SHA_256(int size)
    {
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes);
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)), PageHash.Of(bytes).ToString());
    }

    [Fact]
    public void What_was_encoded_is_read_slot_by_slot_and_as_a_whole()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 60, seed =>
        {
            var random = new Random(seed);
            var (hashes, pages) = Pages(random, random.Next(1, 17));
            var frame = FrameReader.Parse(Id, FrameEncoder.Encode(Id, hashes, pages, Any(random)));
            Assert.Equal(hashes.Length, frame.Slots);
            Assert.Equal(hashes.Length, frame.LiveCount);
            var all = new byte[pages.Length];
            frame.ReadAll(all);
            Assert.True(all.AsSpan().SequenceEqual(pages));
            foreach (var slot in Enumerable.Range(0, hashes.Length).OrderBy(_ => random.Next()))
            {
                Assert.Equal(hashes[slot], frame.Hash(slot));
                Assert.True(frame.Page(slot).SequenceEqual(Page(pages, slot)));
            }
        });
    }

    [Fact]
    public void Any_other_bytes_are_damage()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 20, seed =>
        {
            var random = new Random(seed);
            var (hashes, pages) = Pages(random, random.Next(1, 17));
            Damage.OnlyTheseBytesDecode(FrameEncoder.Encode(Id, hashes, pages, Any(random)), random, b => FrameReader.Parse(Id, b));
        });
        Damage.RandomBytesAreDamage(b => FrameReader.Parse(Id, b));
    }

    [Fact]
    public void A_damaged_payload_behind_a_right_checksum_never_gives_wrong_bytes()
    {
        var refused = 0;
        Damage.Check(Gen.Choose(0, int.MaxValue), 200, seed =>
        {
            var random = new Random(seed);
            var (hashes, pages) = Pages(random, random.Next(1, 17));
            var bytes = FrameEncoder.Encode(Id, hashes, pages, Any(random));
            for (var i = random.Next(3); i >= 0; i--) bytes[random.Next(1, bytes.Length - 4)] ^= (byte)(1 << random.Next(8));
            Seal(bytes);
            var all = new byte[16 * 4096];
            try
            {
                var frame = FrameReader.Parse(Id, bytes);
                for (var slot = 0; slot < frame.Slots; slot++)
                {
                    frame.Read(slot, all);
                    Assert.Equal(frame.Hash(slot), PageHash.Of(all.AsSpan(0, 4096)));
                }
            }
            catch (StoreDamagedException)
            {
                refused++;
            }
        });
        Assert.True(refused > 100, $"only {refused} were refused");
    }

    [Fact]
    public void Rewriting_drops_dead_slots_and_the_others_keep_their_numbers()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 100, seed =>
        {
            var random = new Random(seed);
            var (hashes, pages) = Pages(random, random.Next(1, 17));
            var first = FrameEncoder.Encode(Id, hashes, pages, Any(random));
            var bytes = first;
            ushort dead = 0;
            for (var round = 0; round < 3; round++)
            {
                dead |= (ushort)(random.Next(1 << 16) & random.Next(1 << 16));
                var rewritten = FrameEncoder.Without(FrameReader.Parse(Id, bytes), dead, Any(random));
                var gone = Enumerable.Range(0, hashes.Length).Count(s => (dead >> s & 1) != 0);
                if (gone == hashes.Length)
                {
                    Assert.Null(rewritten);
                    return;
                }

                bytes = rewritten!;
                var frame = FrameReader.Parse(Id, bytes);
                Assert.Equal(hashes.Length, frame.Slots);
                Assert.Equal(hashes.Length - gone, frame.LiveCount);
                var all = new byte[16 * 4096];
                frame.ReadAll(all);
                for (var slot = 0; slot < hashes.Length; slot++)
                {
                    if ((dead >> slot & 1) != 0)
                    {
                        Assert.False(frame.IsLive(slot));
                        Assert.Throws<StoreDamagedException>(() => frame.Hash(slot));
                        Assert.Throws<StoreDamagedException>(() => frame.Read(slot, new byte[4096]));
                        Assert.True(Page(all, slot).IndexOfAnyExcept((byte)0) < 0);
                    }
                    else
                    {
                        Assert.Equal(hashes[slot], frame.Hash(slot));
                        Assert.True(Page(all, slot).SequenceEqual(Page(pages, slot)));
                    }
                }
            }
        });
    }

    [Fact]
    public void Rewriting_refuses_to_carry_a_damaged_page_on()
    {
        var (hashes, pages) = Pages(new Random(3), 4);
        pages[2 * 4096 + 17] ^= 1;
        var frame = FrameReader.Parse(Id, FrameEncoder.Encode(Id, hashes, pages, Compression.Default));
        Assert.Contains("slot 2", Assert.Throws<StoreDamagedException>(() => FrameEncoder.Without(frame, 1, Compression.Default)).Message);
        Assert.Equal(3, FrameReader.Parse(Id, FrameEncoder.Without(frame, 4, Compression.Default)!).LiveCount);
    }

    [Fact]
    public void A_page_is_not_what_its_address_says_is_told_for_that_slot_alone()
    {
        var (hashes, pages) = Pages(new Random(3), 16);
        hashes[5] = PageHash.Of(new byte[4096]);
        var frame = FrameReader.Parse(Id, FrameEncoder.Encode(Id, hashes, pages, Compression.Default));
        var error = Assert.Throws<StoreDamagedException>(() => frame.Read(5, new byte[4096]));
        Assert.Contains("frame 12/345", error.Message);
        Assert.Contains("slot 5", error.Message);
        frame.Read(6, new byte[4096]);
    }

    [Fact]
    public void Incompressible_pages_are_stored_as_they_are_and_others_shrink()
    {
        var random = new byte[16 * 4096];
        new Random(1).NextBytes(random);
        var noise = FrameReader.Parse(Id, FrameEncoder.Encode(Id, Hashes(random), random, Compression.Default));
        Assert.Equal(random.Length, noise.StoredPayloadBytes);
        var text = new byte[16 * 4096];
        for (var i = 0; i < text.Length; i++) text[i] = (byte)(i / 100);
        Assert.InRange(FrameReader.Parse(Id, FrameEncoder.Encode(Id, Hashes(text), text, Compression.Default)).StoredPayloadBytes, 1, 8000);
        Assert.Equal(text.Length, FrameReader.Parse(Id, FrameEncoder.Encode(Id, Hashes(text), text, new Compression(null))).StoredPayloadBytes);
    }

    [Fact]
    public void A_frame_under_another_key_is_damage()
    {
        var (hashes, pages) = Pages(new Random(1), 2);
        var bytes = FrameEncoder.Encode(Id, hashes, pages, Compression.Default);
        Assert.Throws<StoreDamagedException>(() => FrameReader.Parse(Id with { Number = 346 }, bytes));
        Assert.Throws<StoreDamagedException>(() => FrameReader.Parse(Id with { Crid = new Crid(13) }, bytes));
        Assert.Contains("missing", Assert.Throws<StoreDamagedException>(() => FrameReader.Parse(Id, default)).Message);
    }

    [Fact]
    public void More_slots_or_bytes_than_allowed_are_damage()
    {
        var (hashes, pages) = Pages(new Random(1), 5);
        var bytes = FrameEncoder.Encode(Id, hashes, pages, new Compression(null));
        Assert.Contains("slots", Assert.Throws<StoreDamagedException>(
            () => FrameReader.Parse(Id, bytes, FormatLimits.Default with { MaxFrameSlots = 4 })).Message);
        Assert.Contains("payload", Assert.Throws<StoreDamagedException>(
            () => FrameReader.Parse(Id, bytes, FormatLimits.Default with { MaxFramePayloadBytes = 5 * 4096 - 1 })).Message);
        FrameReader.Parse(Id, bytes, FormatLimits.Default with { MaxFrameSlots = 5, MaxFramePayloadBytes = 5 * 4096 });
        Assert.Throws<ArgumentException>(() => FrameEncoder.Encode(Id, [], [], Compression.Default));
        Assert.Throws<ArgumentException>(() => FrameEncoder.Encode(Id, new ContentHash[17], new byte[17 * 4096], Compression.Default));
    }

    [Theory]
    [InlineData(0, 2, "version")]
    [InlineData(1, 3, "codec")]
    [InlineData(2, 0, "slots")]
    [InlineData(2, 17, "slots")]
    [InlineData(2, 1, "slots")] // fewer than the bitmap says
    [InlineData(3, 1, "reserved")]
    [InlineData(4, 0, "slots")] // nothing live
    [InlineData(4, 1, "payload")] // one page live, the payload of two
    [InlineData(6, 1, "reserved")]
    [InlineData(10, 1, "payload")]
    public void Header_fields_that_break_a_rule_are_refused_for_that_rule(int offset, byte value, string reason)
    {
        var (hashes, pages) = Pages(new Random(1), 2);
        var bytes = FrameEncoder.Encode(Id, hashes, pages, new Compression(null));
        bytes[offset] = value;
        Seal(bytes);
        Assert.Contains(reason, Assert.Throws<StoreDamagedException>(() => FrameReader.Parse(Id, bytes)).Message);
    }

    [Fact]
    public void Every_thread_may_read_one_frame_at_once()
    {
        var (hashes, pages) = Pages(new Random(9), 16);
        var bytes = FrameEncoder.Encode(Id, hashes, pages, Compression.Default);
        for (var round = 0; round < 20; round++)
        {
            var frame = FrameReader.Parse(Id, bytes);
            Parallel.For(0, 64, i => Assert.True(frame.Page(i % 16).SequenceEqual(Page(pages, i % 16))));
        }
    }

    private static Compression Any(Random random) => random.Next(3) switch { 0 => new Compression(null), 1 => new Compression(5), _ => Compression.Default };

    private static ReadOnlySpan<byte> Page(byte[] pages, int slot) => pages.AsSpan(slot * 4096, 4096);

    private static ContentHash[] Hashes(byte[] pages) => Enumerable.Range(0, pages.Length / 4096).Select(i => PageHash.Of(Page(pages, i))).ToArray();

    private static (ContentHash[] Hashes, byte[] Pages) Pages(Random random, int count)
    {
        var pages = new byte[count * 4096];
        for (var i = 0; i < count; i++)
        {
            var page = pages.AsSpan(i * 4096, 4096);
            random.NextBytes(page[..random.Next(1, 4096)]);
        }

        return (Hashes(pages), pages);
    }

    private static void Seal(byte[] bytes) => BitConverter.TryWriteBytes(bytes.AsSpan(bytes.Length - 4),
        Crc32C.Of(bytes.AsSpan(0, bytes.Length - 4), Id.Crid.Value, Id.Number));
}
