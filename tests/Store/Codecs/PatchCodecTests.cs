using Crstore.Store;
using Crstore.Store.Patches;
using FsCheck.Fluent;
using Xunit;

namespace Crstore.Tests.Store.Codecs;

public class PatchCodecTests
{
    [Fact]
    public void What_a_patch_was_made_from_becomes_what_it_was_made_for()
    {
        int made = 0, equal = 0, tooMuch = 0;
        Damage.Check(Gen.Choose(0, int.MaxValue), 2000, seed =>
        {
            var random = new Random(seed);
            var from = new byte[4096];
            random.NextBytes(from.AsSpan(0, random.Next(4097)));
            var to = Change(from, random);
            var patch = new byte[FormatLimits.Default.MaxPatchBytes];
            var length = PatchCodec.Make(from, to, patch);
            if (length < 0)
            {
                tooMuch++;
                Assert.True(from.Zip(to).Count(p => p.First != p.Second) > patch.Length / 8, "so much does not differ");
                return;
            }

            Assert.Equal(from.AsSpan().SequenceEqual(to), length == 0);
            if (length == 0)
            {
                equal++;
                return;
            }

            made++;
            Assert.True(PatchCodec.Apply(patch.AsSpan(0, length), from));
            Assert.True(from.AsSpan().SequenceEqual(to));
        });
        Assert.True(made > 500 && equal > 20 && tooMuch > 100, $"{made} {equal} {tooMuch}");
    }

    [Fact]
    public void Any_bytes_are_refused_or_change_the_page_and_nothing_else()
    {
        var applied = 0;
        Damage.Check(Gen.Choose(0, int.MaxValue), 20_000, seed =>
        {
            var random = new Random(seed);
            var room = new byte[3 * 4096];
            byte[] patch;
            if (random.Next(2) == 0)
            {
                patch = new byte[random.Next(40)];
                random.NextBytes(patch);
                if (patch.Length > 3 && random.Next(2) == 0) (patch[0], patch[1]) = ((byte)random.Next(128), (byte)(patch.Length - 2));
            }
            else
            {
                // A sound one with a byte changed, cut, or made longer.
                var from = new byte[4096];
                var whole = new byte[FormatLimits.Default.MaxPatchBytes];
                var length = Math.Max(0, PatchCodec.Make(from, Change(from, random), whole));
                patch = whole[..Math.Min(whole.Length, length + random.Next(3))];
                if (patch.Length > 0) patch[random.Next(patch.Length)] = (byte)random.Next(256);
                patch = patch[..random.Next(patch.Length + 1)];
            }

            var byTheBook = ByTheBook(patch);
            Assert.Equal(byTheBook is not null, PatchCodec.Apply(patch, room.AsSpan(4096, 4096)));
            if (byTheBook is not null) applied++;
            Assert.True(byTheBook is null || room.AsSpan(4096, 4096).SequenceEqual(byTheBook));
            Assert.True(room.AsSpan(0, 4096).IndexOfAnyExcept((byte)0) < 0 && room.AsSpan(8192).IndexOfAnyExcept((byte)0) < 0);
        });
        Assert.True(applied > 100, $"{applied} were applied");
    }

    [Theory]
    [InlineData("")]               // no run
    [InlineData("00")]             // no length
    [InlineData("0000")]           // an empty run
    [InlineData("000201")]         // less than it says
    [InlineData("0001010001" + "02")] // a run right behind the one before
    [InlineData("80000101")]       // a number in a longer form than it needs
    [InlineData("00810001")]       // the same of a length
    [InlineData("808001" + "0101")] // a number beyond two bytes
    [InlineData("80200101")]       // a run behind the page's end
    [InlineData("ff1f020101")]     // a run over it
    public void Patches_that_break_a_rule_are_refused(string hex) => Assert.False(PatchCodec.Apply(Convert.FromHexString(hex), new byte[4096]));

    [Fact]
    public void The_last_byte_and_the_first_can_be_changed()
    {
        var page = new byte[4096];
        Assert.True(PatchCodec.Apply(Convert.FromHexString("000107" + "fe1f0108"), page));
        Assert.Equal((7, 8), (page[0], page[4095]));
        var patch = new byte[16];
        Assert.Equal("000107fe1f0108", Convert.ToHexStringLower(patch.AsSpan(0, PatchCodec.Make(new byte[4096], page, patch))));
    }

    [Fact]
    public void Short_gaps_are_copied_and_a_patch_that_does_not_fit_is_none()
    {
        byte[] from = new byte[4096], to = new byte[4096];
        for (var i = 0; i < 40; i += 2) to[100 + i] = 1;
        var patch = new byte[64];
        Assert.Equal(2 + 39, PatchCodec.Make(from, to, patch));
        Assert.Equal(-1, PatchCodec.Make(from, to, patch.AsSpan(0, 40)));
        Assert.Equal(2 + 39, PatchCodec.Make(from, to, patch.AsSpan(0, 41)));
        to.AsSpan().Fill(9);
        Assert.Equal(-1, PatchCodec.Make(from, to, patch));
    }

    /// <summary>What docs/FORMAT.md says that a patch makes of a page of zeros, byte by byte; null if it is none.</summary>
    private static byte[]? ByTheBook(byte[] patch)
    {
        var page = new byte[4096];
        var (at, position) = (0, 0);
        while (at < patch.Length)
        {
            if (Number() is not { } gap || Number() is not { } run || run == 0 || gap == 0 && position > 0) return null;
            position += gap;
            for (var i = 0; i < run; i++)
            {
                if (at == patch.Length || position >= page.Length) return null;
                page[position++] = patch[at++];
            }
        }

        return at > 0 ? page : null;

        int? Number()
        {
            if (at == patch.Length) return null;
            int first = patch[at++];
            if (first < 128) return first;
            return at < patch.Length && patch[at] is > 0 and < 128 ? first - 128 + patch[at++] * 128 : null;
        }
    }

    private static byte[] Change(byte[] from, Random random)
    {
        var to = from.ToArray();
        var largest = random.Next(5) == 0 ? 2000 : 40;
        for (var i = random.Next(12); i > 0; i--)
        {
            var start = random.Next(4096);
            random.NextBytes(to.AsSpan(start, Math.Min(random.Next(1, largest), 4096 - start)));
        }

        return to;
    }
}
