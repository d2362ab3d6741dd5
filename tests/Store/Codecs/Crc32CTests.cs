using Crstore.Store.Codec;
using Xunit;

namespace Crstore.Tests.Store.Codecs;

public class Crc32CTests
{
    // RFC 3720, B.4: of 32 bytes of zeros, of ones, and of 0 to 31.
    [Theory]
    [InlineData(0x00, 0, 0x8a9136aa)]
    [InlineData(0xff, 0, 0x62a8ab43)]
    [InlineData(0x00, 1, 0x46dd794e)]
    public void Has_the_checksums_of_the_standard(byte first, byte step, uint expected)
    {
        var bytes = Enumerable.Range(0, 32).Select(i => (byte)(first + i * step)).ToArray();

        // Ours starts from a number: these are the eight bytes that come before the others.
        Assert.Equal(expected, Crc32C.Of(bytes.AsSpan(24), BitConverter.ToUInt64(bytes), BitConverter.ToUInt64(bytes, 8), BitConverter.ToUInt64(bytes, 16)));
    }

    [Fact]
    public void Is_the_same_in_lanes_and_bit_by_bit()
    {
        var random = new Random(1);
        var bytes = new byte[8192];
        random.NextBytes(bytes);
        foreach (var length in Enumerable.Range(0, 40).Concat([511, 512, 1535, 1536, 1537, 1544, 3071, 3072, 4096, 6001, 8191, 8192]))
        {
            var part = bytes.AsSpan(random.Next(bytes.Length - length + 1), length);
            Assert.Equal(BitByBit(part, 1, 2, 3), Crc32C.Of(part, 1, 2, 3));
        }
    }

    private static uint BitByBit(ReadOnlySpan<byte> bytes, params ulong[] keys)
    {
        var state = uint.MaxValue;
        foreach (var b in (byte[])[.. keys.SelectMany(BitConverter.GetBytes), .. bytes])
        {
            state ^= b;
            for (var bit = 0; bit < 8; bit++) state = (state & 1) == 0 ? state >> 1 : state >> 1 ^ 0x82f63b78;
        }

        return ~state;
    }
}
