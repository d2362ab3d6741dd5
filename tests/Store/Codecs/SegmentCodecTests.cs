using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Codec;
using Crstore.Store.PageMaps;
using FsCheck.Fluent;
using Xunit;

namespace Crstore.Tests.Store.Codecs;

public class SegmentCodecTests
{
    private static readonly SegmentKey Key = new(new Crid(42), new SpaceId(3), 0x7fff_f7a1);

    [Fact]
    public void What_was_encoded_is_decoded()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 300, seed =>
        {
            var extents = Extents(new Random(seed));
            var bytes = SegmentCodec.Encode(Key, extents);
            Assert.Equal(extents, SegmentCodec.Decode(Key, bytes).Extents);
            Assert.True(bytes.Length <= FormatLimits.Default.MaxSegmentBytes);
        });
    }

    [Fact]
    public void Any_other_bytes_are_damage()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 100, seed =>
        {
            var random = new Random(seed);
            Damage.OnlyTheseBytesDecode(SegmentCodec.Encode(Key, Extents(random)), random, b => SegmentCodec.Decode(Key, b));
        });
        Damage.RandomBytesAreDamage(b => SegmentCodec.Decode(Key, b));
    }

    [Fact]
    public void Bytes_with_a_right_checksum_decode_only_to_what_encodes_to_them()
    {
        // A checksum keeps accidents out; this looks at what is behind it.
        var accepted = 0;
        Damage.Check(Gen.Choose(0, int.MaxValue), 3000, seed =>
        {
            var random = new Random(seed);
            var bytes = SegmentCodec.Encode(Key, Extents(random));
            for (var i = random.Next(4); i >= 0; i--) bytes[random.Next(1, bytes.Length - 4)] ^= (byte)(1 << random.Next(8));
            Seal(bytes);
            try
            {
                var segment = SegmentCodec.Decode(Key, bytes);
                Assert.Equal(bytes, SegmentCodec.Encode(Key, segment.Extents));
                accepted++;
            }
            catch (StoreDamagedException)
            {
                // Refused: fine as well.
            }
        });
        Assert.True(accepted > 100, $"only {accepted} were accepted: the property says nothing");
    }

    [Fact]
    public void A_difference_is_decoded_to_what_was_encoded_and_nothing_else_is()
    {
        var accepted = 0;
        Damage.Check(Gen.Choose(0, int.MaxValue), 1000, seed =>
        {
            var random = new Random(seed);
            var bytes = Encode(Difference(random));
            Damage.OnlyTheseBytesDecode(bytes, random, b => SegmentCodec.Decode(Key, b));
            for (var i = random.Next(4); i > 0; i--) bytes[random.Next(1, bytes.Length - 4)] ^= (byte)(1 << random.Next(8));
            Seal(bytes);
            try
            {
                var decoded = SegmentCodec.Decode(Key, bytes);
                Assert.True(decoded.Base is { } from && from.Number == Key.Number && from.Writer.Value < Key.Writer.Value);
                Assert.Equal(bytes, Encode(decoded));
                accepted++;
            }
            catch (StoreDamagedException)
            {
                // Refused: fine as well.
            }
        });
        Assert.True(accepted > 200, $"only {accepted} were accepted: the property says nothing");
    }

    [Fact]
    public void A_difference_applied_to_what_it_differs_from_is_the_segment()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 300, seed =>
        {
            var random = new Random(seed);
            var (from, to) = (Extents(random), Extents(random));
            var runs = SegmentDifference.Between(from, to);
            Assert.Equal(to, SegmentDifference.Apply(from, runs));
            Assert.Empty(SegmentDifference.Between(to, to));
            Assert.Equal(to, SegmentDifference.Apply(to, []));
            var differing = Enumerable.Range(0, Segment.Pages).Where(p => At(from, p) != At(to, p));
            Assert.Equal(differing, runs.SelectMany(r => Enumerable.Range(r.Start, r.Length)));
        });

        static PageExtent At(PageExtent[] extents, int page) => extents.First(e => e.End > page).Cut(page, page + 1);
    }

    [Fact]
    public void A_segment_under_another_key_is_damage()
    {
        var bytes = SegmentCodec.Encode(Key, Extents(new Random(1)));
        Assert.Throws<StoreDamagedException>(() => SegmentCodec.Decode(Key with { Number = Key.Number + 1 }, bytes));
        Assert.Throws<StoreDamagedException>(() => SegmentCodec.Decode(Key with { Space = new SpaceId(2) }, bytes));
        Assert.Throws<StoreDamagedException>(() => SegmentCodec.Decode(Key with { Writer = new Crid(43) }, bytes));
    }

    [Theory]
    [InlineData("01 FC0F", "all pages alike")] // 512 absent pages
    [InlineData("01 00 F80F", "should be one")] // 1 + 511 absent pages
    [InlineData("01 01", "512 pages")] // a single zero page, nothing more
    [InlineData("01 8110", "512 pages")] // 1025 zero pages
    [InlineData("01 00 FD0F", "512 pages")] // 1 + 512 pages
    [InlineData("01 FE0F 53 00", "out of range")] // chunks of CRID 0
    [InlineData("01 FE0F 00 01", "out of range")] // ordinal -1
    [InlineData("01 FE0F 00 80808080F0FFFFFF7F", "out of range")] // ordinal beyond 32 bits
    [InlineData("01 FE0F 00 82F8FFFF1F", "out of range")] // the last page's ordinal beyond 32 bits
    [InlineData("01 FE8F00 00 00", "512 pages")] // a number not in its shortest form
    [InlineData("01 FE0F 00 00 00", "left over")]
    [InlineData("03 FE0F 00 00", "form")]
    [InlineData("02 00 00 00 05 00", "differs from nothing")] // from itself
    [InlineData("02 2A 00 00 05 00", "differs from nothing")] // from CRID 0
    [InlineData("02 01 08 00 05 00", "differs from nothing")] // from space -1
    [InlineData("02 01 00 8180808080808001 05 00", "differs from nothing")] // an excess beyond any segment
    [InlineData("02 01 00 00", "in nothing")]
    [InlineData("02 01 00 00 FF03 00 00 00", "512 pages")] // a page behind the last one
    [InlineData("02 01 00 00 00 FC0F 8104 00", "512 pages")]
    [InlineData("02 01 00 00 05 00 00 04", "should be one")] // an absent page and two more
    [InlineData("02 01 00 00 05", "512 pages")] // cut short
    public void Bytes_that_break_a_rule_are_refused_for_that_rule(string hex, string reason)
    {
        byte[] bytes = [.. Convert.FromHexString(hex.Replace(" ", "")), 0, 0, 0, 0];
        Seal(bytes);
        Assert.Contains(reason, Assert.Throws<StoreDamagedException>(() => SegmentCodec.Decode(Key, bytes)).Message);
    }

    [Fact]
    public void More_extents_or_bytes_than_allowed_are_damage()
    {
        var bytes = SegmentCodec.Encode(Key, Extents(new Random(1), 512));
        var few = FormatLimits.Default with { MaxSegmentExtents = 100 };
        Assert.Contains("extents", Assert.Throws<StoreDamagedException>(() => SegmentCodec.Decode(Key, bytes, few)).Message);
        var small = FormatLimits.Default with { MaxSegmentBytes = bytes.Length - 1 };
        Assert.Contains("more than", Assert.Throws<StoreDamagedException>(() => SegmentCodec.Decode(Key, bytes, small)).Message);
        SegmentCodec.Decode(Key, bytes, small with { MaxSegmentBytes = bytes.Length });
    }

    [Fact]
    public void The_worst_segment_fits_its_limit()
    {
        var worst = Enumerable.Range(0, 512).Select(i => new PageExtent((ushort)i, 1, PageKind.Chunk,
            new ChunkLocation(new Crid(i % 2 == 0 ? 1UL << 63 : 1), i % 2 == 0 ? uint.MaxValue : 0))).ToArray();
        Assert.InRange(SegmentCodec.Encode(Key, worst).Length, 512 * 12, FormatLimits.Default.MaxSegmentBytes);
    }

    [Fact]
    public void A_base_of_a_gibibyte_has_a_map_of_kilobytes()
    {
        var builder = new PageMapBuilder(new Crid(1), default, null);
        builder.SetChunks(new PageRange(new VirtualPage(0x7f00_0000_0), 1 << 18), new ChunkLocation(new Crid(1), 0));
        var result = builder.Build();
        Assert.Equal(512, result.Segments.Count);
        Assert.InRange(result.Segments.Sum(s => s.Bytes.Length) + result.Root.Length, 512, 8 * 1024);
    }

    private static void Seal(byte[] bytes) => BitConverter.TryWriteBytes(bytes.AsSpan(bytes.Length - 4),
        Crc32C.Of(bytes.AsSpan(0, bytes.Length - 4), Key.Writer.Value, Key.Space.Value, Key.Number));

    private static byte[] Encode(in StoredSegment difference)
    {
        var writer = new ByteWriter();
        SegmentCodec.EncodeDifference(Key, difference, writer);
        return writer.Written.ToArray();
    }

    [Fact]
    public void The_full_form_is_never_smaller_than_its_least_size()
    {
        for (var seed = 0; seed < 200; seed++)
        {
            var extents = Extents(new Random(seed));
            Assert.InRange(SegmentCodec.LeastBytes(extents), 6, SegmentCodec.Encode(Key, extents).Length);
        }
    }

    /// <summary>What one map has otherwise than another, from an older CRID.</summary>
    private static StoredSegment Difference(Random random)
    {
        var from = Key with { Writer = new Crid((ulong)random.Next(1, 42)), Space = new SpaceId((uint)random.Next(6)) };
        return new StoredSegment(from, SegmentDifference.Between(Extents(random), Extents(random))) { Excess = random.Next(5000) };
    }

    /// <summary>Random maximal extents, not all alike.</summary>
    private static PageExtent[] Extents(Random random, int? count = null)
    {
        var many = count ?? (random.Next(4) == 0 ? 512 : random.Next(2, 20));
        var cuts = Enumerable.Range(1, 511).OrderBy(_ => random.Next()).Take(many - 1).Append(0).Append(512).Order().ToArray();
        var extents = new List<PageExtent>();
        for (var i = 0; i + 1 < cuts.Length; i++)
        {
            var length = (ushort)(cuts[i + 1] - cuts[i]);
            PageExtent extent;
            do
            {
                var kind = (PageKind)random.Next(4);
                var crid = random.Next(3) == 0 ? (ulong)random.NextInt64(1, long.MaxValue) * 2 : (ulong)random.Next(1, 50);
                var ordinal = random.Next(3) == 0 ? (uint)random.NextInt64(uint.MaxValue - 511) : (uint)random.Next(1000);
                extent = new PageExtent((ushort)cuts[i], length, kind, kind == PageKind.Chunk ? new ChunkLocation(new Crid(crid), ordinal) : default);
            }
            while (i > 0 && extents[^1].ContinuesInto(extent));
            extents.Add(extent);
        }

        return [.. extents];
    }
}
