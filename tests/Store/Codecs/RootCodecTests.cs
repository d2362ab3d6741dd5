using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Codec;
using Crstore.Store.PageMaps;
using FsCheck.Fluent;
using Xunit;

namespace Crstore.Tests.Store.Codecs;

public class RootCodecTests
{
    private static readonly Crid Owner = new(77);
    private static readonly SpaceId Space = new(2);

    [Fact]
    public void What_was_encoded_is_decoded()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 300, seed =>
        {
            var entries = Entries(new Random(seed));
            Assert.Equal(entries, RootCodec.Decode(Owner, Space, RootCodec.Encode(Owner, Space, entries)));
        });
    }

    [Fact]
    public void Any_other_bytes_are_damage()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 100, seed =>
        {
            var random = new Random(seed);
            Damage.OnlyTheseBytesDecode(RootCodec.Encode(Owner, Space, Entries(random)), random, b => RootCodec.Decode(Owner, Space, b));
        });
        Damage.RandomBytesAreDamage(b => RootCodec.Decode(Owner, Space, b));
    }

    [Fact]
    public void Bytes_with_a_right_checksum_decode_only_to_what_encodes_to_them()
    {
        var accepted = 0;
        Damage.Check(Gen.Choose(0, int.MaxValue), 3000, seed =>
        {
            var random = new Random(seed);
            var bytes = RootCodec.Encode(Owner, Space, Entries(random));
            for (var i = random.Next(4); i >= 0; i--) bytes[random.Next(1, bytes.Length - 4)] ^= (byte)(1 << random.Next(8));
            Seal(bytes);
            try
            {
                Assert.Equal(bytes, RootCodec.Encode(Owner, Space, RootCodec.Decode(Owner, Space, bytes)));
                accepted++;
            }
            catch (StoreDamagedException)
            {
                // Refused: fine as well.
            }
        });
        Assert.True(accepted > 100, $"only {accepted} were accepted: the property says nothing");
    }

    [Theory]
    [InlineData("01 01 00 02 00 00", "unknown kind")]
    [InlineData("01 01 00 00 9901 00", "no CRID")] // writer 0
    [InlineData("01 01 00 00 00 05", "no CRID")] // space -1
    [InlineData("01 02 00 01 00 01", "should be one")]
    [InlineData("01 02 00 00 00 00 00 00 00 00", "should be one")]
    [InlineData("01 01 808080808002 00 00 00", "beyond the address space")]
    [InlineData("01 01 00 80808080808001 00 00", "beyond the address space")]
    [InlineData("01 02 00 01", "more than there can be")]
    [InlineData("01 00 00", "left over")]
    [InlineData("02 00", "version")]
    public void Bytes_that_break_a_rule_are_refused_for_that_rule(string hex, string reason)
    {
        byte[] bytes = [.. Convert.FromHexString(hex.Replace(" ", "")), 0, 0, 0, 0];
        Seal(bytes);
        Assert.Contains(reason, Assert.Throws<StoreDamagedException>(() => RootCodec.Decode(Owner, Space, bytes)).Message);
    }

    [Fact]
    public void More_entries_or_bytes_than_allowed_are_damage()
    {
        var entries = Enumerable.Range(0, 50).Select(i => new RootEntry((ulong)i * 2, 1, null, Owner, Space)).ToArray();
        var bytes = RootCodec.Encode(Owner, Space, entries);
        var limits = FormatLimits.Default;
        Assert.Contains("entries", Assert.Throws<StoreDamagedException>(
            () => RootCodec.Decode(Owner, Space, bytes, limits with { MaxRootEntries = 49 })).Message);
        Assert.Contains("bytes", Assert.Throws<StoreDamagedException>(
            () => RootCodec.Decode(Owner, Space, bytes, limits with { MaxRootBytes = bytes.Length - 1 })).Message);
        Assert.Contains("address space", Assert.Throws<StoreDamagedException>(
            () => RootCodec.Decode(Owner, Space, bytes, limits with { MaxPageNumber = 98 * 512 })).Message);
        Assert.Equal(entries, RootCodec.Decode(Owner, Space, bytes,
            limits with { MaxRootEntries = 50, MaxRootBytes = bytes.Length, MaxPageNumber = 99 * 512 }));
    }

    [Fact]
    public void A_missing_root_and_another_ones_root_are_damage()
    {
        var bytes = RootCodec.Encode(Owner, Space, Entries(new Random(5)));
        Assert.Contains("missing", Assert.Throws<StoreDamagedException>(() => RootCodec.Decode(Owner, Space, [])).Message);
        Assert.Throws<StoreDamagedException>(() => RootCodec.Decode(new Crid(78), Space, bytes));
        Assert.Throws<StoreDamagedException>(() => RootCodec.Decode(Owner, new SpaceId(3), bytes));
    }

    private static void Seal(byte[] bytes) => BitConverter.TryWriteBytes(bytes.AsSpan(bytes.Length - 4),
        Crc32C.Of(bytes.AsSpan(0, bytes.Length - 4), Owner.Value, Space.Value, ulong.MaxValue));

    private static RootEntry[] Entries(Random random)
    {
        var entries = new List<RootEntry>();
        ulong position = 0;
        for (var i = random.Next(30); i > 0; i--)
        {
            var gap = random.Next(2) == 0 ? 0 : (ulong)random.NextInt64(1, random.Next(2) == 0 ? 5 : 1L << 28);
            var count = (ulong)random.NextInt64(1, random.Next(2) == 0 ? 5 : 1L << 28);
            var entry = random.Next(4) switch
            {
                0 => new RootEntry(position + gap, count, PageKind.Zero, Crid.None, default),
                1 => new RootEntry(position + gap, count, PageKind.Excluded, Crid.None, default),
                _ => new RootEntry(position + gap, count, null, new Crid((ulong)random.Next(1, 90)), new SpaceId((uint)random.Next(4))),
            };
            if (gap == 0 && entries.Count > 0 && entries[^1].SameContent(entry)) continue;
            entries.Add(entry);
            position = entry.End;
        }

        return [.. entries];
    }
}
