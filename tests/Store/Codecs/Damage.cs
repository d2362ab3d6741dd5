using Crstore.Model;
using FsCheck;
using FsCheck.Fluent;
using Xunit;

namespace Crstore.Tests.Store.Codecs;

/// <summary>Properties that every codec must have.</summary>
internal static class Damage
{
    /// <summary>Runs a property over random values and says the seed of each run.</summary>
    public static void Check<T>(Gen<T> values, int runs, Action<T> property)
    {
        var config = Config.QuickThrowOnFailure.WithMaxTest(runs);
        Check(config, Prop.ForAll(values.ToArbitrary(), value =>
        {
            property(value);
            return true;
        }));
    }

    /// <summary>Any other bytes than these are refused as damage, and with no other exception.</summary>
    public static void OnlyTheseBytesDecode(byte[] bytes, Random random, Action<byte[]> decode)
    {
        decode(bytes);
        for (var i = 0; i < 30; i++)
        {
            var other = Mutate(bytes, random);
            if (other.AsSpan().SequenceEqual(bytes)) continue;
            var thrown = Record.Exception(() => decode(other));
            Assert.True(thrown is StoreDamagedException, $"{Convert.ToHexString(other)} gave {thrown?.ToString() ?? "no error"}");
        }
    }

    /// <summary>Random bytes are refused as damage, and with no other exception.</summary>
    public static void RandomBytesAreDamage(Action<byte[]> decode) => Check(ArbMap.Default.GeneratorFor<byte[]>(), 2000, bytes =>
        Assert.IsType<StoreDamagedException>(Record.Exception(() => decode(bytes ?? []))));

    private static byte[] Mutate(byte[] bytes, Random random)
    {
        var other = bytes.ToArray();
        switch (random.Next(5))
        {
            case 0:
                other[random.Next(other.Length)] ^= (byte)(1 << random.Next(8));
                return other;
            case 1:
                return other[..random.Next(other.Length)];
            case 2:
                return [.. other, .. new byte[random.Next(1, 5)]];
            case 3:
                other[random.Next(other.Length)] = (byte)random.Next(256);
                return other;
            default:
                var from = random.Next(other.Length);
                random.NextBytes(other.AsSpan(from, Math.Min(random.Next(1, 4), other.Length - from)));
                return other;
        }
    }

    private static void Check(Config config, Property property) => FsCheck.Check.One(config, property);
}
