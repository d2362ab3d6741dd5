using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Codec;
using Crstore.Store.Patches;
using FsCheck.Fluent;
using Xunit;

namespace Crstore.Tests.Store.Codecs;

public class PatchGroupTests
{
    private const ulong ChecksumMark = 0x70617463;
    private static readonly PatchGroupId Id = new(new Crid(12), 345);

    [Fact]
    public void What_was_put_in_comes_out_slot_by_slot()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 300, seed =>
        {
            var random = new Random(seed);
            var all = Patches(random, random.Next(1, 65));
            var group = PatchGroup.Parse(Id, Encode(all, random));
            AssertHolds(group, all, ulong.MaxValue);
            AssertHolds(group.Detached(patches: true), all, ulong.MaxValue);
            Assert.Equal(all.Select((_, slot) => (group.Hash(slot), group.Anchor(slot))),
                all.Select((_, slot) => (group.Detached(patches: false).Hash(slot), group.Detached(patches: false).Anchor(slot))));
        });
    }

    [Fact]
    public void Any_other_bytes_are_damage()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 50, seed =>
        {
            var random = new Random(seed);
            Damage.OnlyTheseBytesDecode(Encode(Patches(random, random.Next(1, 65)), random), random, b => PatchGroup.Parse(Id, b));
        });
        Damage.RandomBytesAreDamage(b => PatchGroup.Parse(Id, b));
        var bytes = Encode(Patches(new Random(1), 3), new Random(2));
        Assert.Throws<StoreDamagedException>(() => PatchGroup.Parse(Id with { Number = 346 }, bytes));
        Assert.Throws<StoreDamagedException>(() => PatchGroup.Parse(Id with { Crid = new Crid(13) }, bytes));
        Assert.Contains("missing", Assert.Throws<StoreDamagedException>(() => PatchGroup.Parse(Id, default)).Message);
    }

    [Fact]
    public void Damage_behind_a_right_checksum_never_gives_a_wrong_page()
    {
        var refused = 0;
        Damage.Check(Gen.Choose(0, int.MaxValue), 500, seed =>
        {
            var random = new Random(seed);
            var anchor = new byte[4096];
            random.NextBytes(anchor);
            var page = anchor.ToArray();
            random.NextBytes(page.AsSpan(random.Next(4000), 64));
            var patch = new byte[200];
            var all = new List<(ContentHash, ChunkLocation, byte[])> { (PageHash.Of(page), new ChunkLocation(new Crid(3), 4), patch[..PatchCodec.Make(anchor, page, patch)]) };
            var bytes = Encode(all, random);
            for (var i = random.Next(3); i >= 0; i--) bytes[random.Next(1, bytes.Length - 4)] ^= (byte)(1 << random.Next(8));
            BitConverter.TryWriteBytes(bytes.AsSpan(bytes.Length - 4), Crc32C.Of(bytes.AsSpan(0, bytes.Length - 4), Id.Crid.Value, Id.Number, ChecksumMark));
            try
            {
                PatchGroup.Parse(Id, bytes).Apply(0, anchor);
                Assert.Equal(page, anchor);
            }
            catch (StoreDamagedException)
            {
                refused++;
            }
        });
        Assert.True(refused > 300, $"only {refused} were refused");
    }

    [Fact]
    public void Rewriting_drops_dead_slots_and_the_others_keep_their_numbers()
    {
        Damage.Check(Gen.Choose(0, int.MaxValue), 200, seed =>
        {
            var random = new Random(seed);
            var all = Patches(random, random.Next(1, 65));
            var bytes = Encode(all, random);
            ulong dead = 0;
            for (var round = 0; round < 3; round++)
            {
                dead |= (ulong)random.NextInt64() & (ulong)random.NextInt64() | (random.Next(3) == 0 ? 1UL << 63 : 0);
                var rest = PatchGroup.Parse(Id, bytes).Without(dead, Any(random));
                if (Enumerable.Range(0, all.Count).All(s => (dead >> s & 1) != 0))
                {
                    Assert.Null(rest);
                    return;
                }

                AssertHolds(PatchGroup.Parse(Id, bytes = rest!), all, ~dead);
            }
        });
    }

    [Fact]
    public void More_than_allowed_is_damage_and_anchors_are_no_patches()
    {
        var all = Patches(new Random(1), 5);
        var bytes = Encode(all, new Random(1));
        Assert.Contains("slots", Assert.Throws<StoreDamagedException>(() => PatchGroup.Parse(Id, bytes, FormatLimits.Default with { MaxPatchSlots = 4 })).Message);
        var longest = all.Max(p => p.Patch.Length);
        PatchGroup.Parse(Id, bytes, FormatLimits.Default with { MaxPatchSlots = 5, MaxPatchBytes = longest });
        Assert.Throws<StoreDamagedException>(() => PatchGroup.Parse(Id, bytes, FormatLimits.Default with { MaxPatchBytes = longest - 1 }));
        var builder = new PatchGroupBuilder();
        builder.Start(Id);
        Assert.Throws<ArgumentException>(() => builder.Add(default, new ChunkLocation(new Crid(1), ChunkLocation.FirstPatch), [1]));
        Assert.Throws<ArgumentException>(() => builder.Add(default, new ChunkLocation(new Crid(1), 1), new byte[FormatLimits.Default.MaxPatchBytes + 1]));
        Assert.Throws<ArgumentException>(() => builder.Add(default, new ChunkLocation(new Crid(1), 1), []));
    }

    private static void AssertHolds(PatchGroup group, List<(ContentHash Hash, ChunkLocation Anchor, byte[] Patch)> all, ulong live)
    {
        Assert.Equal(all.Count, group.Slots);
        for (var slot = 0; slot < all.Count; slot++)
        {
            if ((live >> slot & 1) == 0)
            {
                Assert.False(group.IsLive(slot));
                Assert.Throws<StoreDamagedException>(() => group.Patch(slot).Length);
                continue;
            }

            Assert.Equal((all[slot].Hash, all[slot].Anchor), (group.Hash(slot), group.Anchor(slot)));
            Assert.Equal(all[slot].Patch, group.Patch(slot).ToArray());
        }
    }

    private static List<(ContentHash Hash, ChunkLocation Anchor, byte[] Patch)> Patches(Random random, int count) => [.. Enumerable.Range(0, count).Select(i =>
    {
        var patch = new byte[random.Next(1, FormatLimits.Default.MaxPatchBytes + 1)];
        random.NextBytes(patch.AsSpan(0, random.Next(patch.Length + 1)));
        var crid = new Crid(random.Next(3) switch { 0 => 1UL, 1 => (ulong)random.NextInt64(1, long.MaxValue), _ => ulong.MaxValue });
        var ordinal = random.Next(2) == 0 ? (uint)random.Next(1000) : (uint)random.NextInt64(ChunkLocation.FirstPatch);
        return (PageHash.Of(patch), new ChunkLocation(crid, ordinal), patch);
    })];

    private static byte[] Encode(List<(ContentHash Hash, ChunkLocation Anchor, byte[] Patch)> all, Random random)
    {
        var builder = new PatchGroupBuilder();
        for (var again = 0; again < 2; again++) // its buffers are used again
        {
            builder.Start(Id);
            foreach (var (hash, anchor, patch) in all) builder.Add(hash, anchor, patch);
        }

        return builder.Finish(Any(random));
    }

    private static Compression Any(Random random) => random.Next(3) == 0 ? new Compression(null) : Compression.Default;
}
