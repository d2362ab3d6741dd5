using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Crstore.Store.Native;
using Crstore.Store.Patches;
using Crstore.Store.Reading;
using Crstore.Tests.Store.Maintenance;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>Captures of memory of whose pages little changes.</summary>
public sealed class PatchTests
{
    [Theory]
    [InlineData(5000)] // in the commit's batch
    [InlineData(0)]    // through SST files
    public void Small_changes_are_stored_as_patches_and_every_checkpoint_reads_back(int smallCapturePages)
    {
        var random = Seeds.Random();
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = smallCapturePages };
        var memory = Memory.Random(random.Next(), 3000, zeroEvery: 50);
        var all = new SortedDictionary<Crid, Memory> { [new Crid(temp.Capture(memory).Crid)] = memory };
        while (all.Count < 12)
        {
            var next = memory.Clone();
            for (var i = 0; i < 300; i++) Touch(next, (ulong)random.Next(3000), random);
            next.Fill(random.Next(), random.Next(2900), 40); // and some as a whole
            all.Add(new Crid(Chain.Increment(temp, memory, next)), memory = next);
        }

        using var store = temp.Open();
        Chain.AssertAll(store, all);
        AssertPatches(temp, atLeast: 11 * 200, anchorsAre: a => !a.IsPatch);
    }

    [Fact]
    public void Groups_that_do_not_unpack_take_no_room_from_others()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 1));
        var good = new PatchGroupId(new Crid(500), 0);
        var bad = new PatchGroupId(new Crid(501), 0);
        StoreSurgery.Edit(temp, (batch, _) =>
        {
            var whole = Group(good);
            batch.Put(ColumnFamily.Patches, StoreSurgery.GroupKey(good), whole);
            var spoiled = Group(bad);
            spoiled.AsSpan(spoiled.Length - 4 - 1000, 1000).Fill(0xee); // in the zstd frame, and the checksum is right
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(spoiled.AsSpan(^4..), PatchGroupLayout.Checksum(bad, spoiled.AsSpan(..^4)));
            batch.Put(ColumnFamily.Patches, StoreSurgery.GroupKey(bad), spoiled);
        });
        StoreSurgery.Open(temp, db =>
        {
            var groups = new PatchGroups(db);
            for (var i = 0; i < 2000; i++) // more than are ever kept
            {
                using var cursor = groups.Begin();
                Assert.Throws<StoreDamagedException>(() => cursor.Read(bad, isLast: true));
            }

            PatchGroup kept;
            using (var cursor = groups.Begin()) kept = cursor.Read(good, isLast: true);
            using (var cursor = groups.Begin()) Assert.Same(kept, cursor.Read(good, isLast: true));
            return true;
        });

        static byte[] Group(PatchGroupId id)
        {
            var builder = new PatchGroupBuilder();
            builder.Start(id);
            var patch = new byte[600];
            for (var slot = 0; slot < PatchGroupId.Slots; slot++)
            {
                new Random(slot).NextBytes(patch.AsSpan(0, 300));
                builder.Add(PageHash.Of(patch), new ChunkLocation(new Crid(1), 0), patch);
            }

            return builder.Finish(Compression.Default);
        }
    }

    [Fact]
    public void Increments_of_small_changes_take_few_bytes()
    {
        using var temp = new TempStore(new Compression(null));
        var memory = Memory.Random(1, 3000);
        temp.Capture(memory);
        var next = memory.Clone();
        for (ulong p = 0; p < 3000; p += 10) next.Touch(p, new Random((int)p));
        var crid = Chain.Increment(temp, memory, next);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        var header = reader.Header(new Crid(crid))!;
        Assert.Equal(300UL, header.Pages.Fresh);
        Assert.InRange(header.BytesStored, 300UL * 60, 300UL * 200);
    }

    [Fact]
    public void A_patch_of_a_patch_changes_the_first_ones_anchor_until_too_much_differs()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 20);
        var first = new Crid(temp.Capture(memory).Crid);
        var random = new Random(2);
        var anchors = new List<ChunkLocation?>();
        for (var i = 0; i < 12; i++)
        {
            var next = memory.Clone();
            next.Touch(7, random, places: 20);
            var crid = new Crid(Chain.Increment(temp, memory, next));
            memory = next;
            anchors.Add(StoreSurgery.Open(temp, db =>
            {
                var chunk = new StoreSegments(db).Open(crid, new SpaceId(0))!.Find(Memory.Base + 7).First;
                return chunk.IsPatch ? ChunkLookup.LoadGroup(db, PatchGroupId.Of(chunk)).Anchor(PatchGroupId.SlotOf(chunk)) : (ChunkLocation?)null;
            }));
        }

        Assert.Equal(new ChunkLocation(first, 7), anchors[0]);
        Assert.Equal(new ChunkLocation(first, 7), anchors[2]);
        var whole = anchors.FindIndex(a => a is null); // 160 bytes more each time
        Assert.InRange(whole, 4, 9);
        Assert.Equal(first.Value + 1 + (ulong)whole, anchors[whole + 1]!.Value.Crid.Value); // which is the next one's anchor
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(reader.Resolve("s"));
        memory.AssertEquals(image);
    }

    [Fact]
    public void One_patch_and_one_anchor_may_serve_many_pages()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(3, 100);
        for (ulong p = 10; p < 20; p++) memory.Set(p, memory.Pages[5]);
        temp.Capture(memory);
        var next = memory.Clone();
        next.Touch(5, new Random(1));
        for (ulong p = 12; p < 16; p++) next.Set(p, next.Pages[5]); // 10, 11 and 16 to 19 stay as the anchor is
        next.Set(200, next.Pages[5]);
        next.Touch(17, new Random(2));
        var crid = Chain.Increment(temp, memory, next);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        Assert.Equal(2UL, reader.Header(new Crid(crid))!.Pages.Fresh);
        using var image = reader.OpenImage(new Crid(crid));
        next.AssertEquals(image);
        var page = new byte[VirtualPage.Size];
        foreach (var p in new ulong[] { 5, 10, 13, 17, 200 })
        {
            image.Read(default, new PageRange(Memory.Base + p, 1), page);
            Assert.Equal(next.Pages[p], page);
        }

        AssertPatches(temp, atLeast: 2, anchorsAre: _ => true);
    }

    [Fact]
    public void Patched_pages_are_found_by_other_captures_and_told_apart_by_the_sample()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(4, 300);
        temp.Capture(memory);
        var next = memory.Clone();
        for (ulong p = 0; p < 300; p += 3) next.Touch(p, new Random((int)p));
        Chain.Increment(temp, memory, next);
        Assert.Equal(0UL, temp.Capture(next, "other").Pages.Fresh);
        using var store = temp.Open();
        using (var writer = store.BeginCapture("s", full: false))
        {
            var space = writer.OpenSpace(new SpaceId(0), new SpaceId(0));
            Assert.True(space.MatchesParent(Memory.Base + 3, next.Pages[3]));
            Assert.False(space.MatchesParent(Memory.Base + 3, memory.Pages[3]));
        }

        using var reader = store.OpenReader();
        using var image = reader.OpenImage(reader.Resolve("other"));
        next.AssertEquals(image);
        Assert.Equal(100UL, reader.Diff(reader.Resolve("s@1"), reader.Resolve("s@2"), null, default).Spaces[0].PagesChanged);
        Assert.Equal(0UL, reader.Diff(reader.Resolve("s@2"), reader.Resolve("other"), null, default).Spaces[0].PagesChanged);
    }

    [Fact]
    public void A_damaged_anchor_does_not_fail_the_capture()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(5, 64);
        var first = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        next.Touch(20, new Random(1));
        Chain.Increment(temp, memory, next);
        StoreSurgery.SpoilPage(temp, new ChunkLocation(first, 20));
        StoreSurgery.Edit(temp, (batch, _) => batch.Delete(ColumnFamily.Chunks, StoreSurgery.Key(new(first, 2))));
        var last = next.Clone();
        last.Touch(20, new Random(2)); // patched before, its anchor is another page now
        last.Touch(40, new Random(3)); // its frame is gone
        last.Touch(1, new Random(4));
        var crid = new Crid(Chain.Increment(temp, next, last));
        StoreSurgery.Open(temp, db =>
        {
            var map = new StoreSegments(db).Open(crid, new SpaceId(0))!;
            foreach (var (p, isPatch) in new[] { (1UL, true), (20UL, false), (40UL, false) }) Assert.Equal(isPatch, map.Find(Memory.Base + p).First.IsPatch);
            return true;
        });
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(crid);
        var page = new byte[VirtualPage.Size];
        foreach (var p in new ulong[] { 1, 20, 40 })
        {
            image.Read(default, new PageRange(Memory.Base + p, 1), page);
            Assert.Equal(last.Pages[p], page);
        }
    }

    [Fact]
    public void What_is_said_of_a_page_while_others_are_gathered_counts_in_the_order_in_which_it_was_said()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(6, 400);
        temp.Capture(memory);
        var random = Seeds.Random();
        for (var round = 0; round < 20; round++)
        {
            var expected = new Memory();
            using var store = temp.Open();
            using var writer = store.BeginCapture("s", full: round % 5 == 0);
            var parent = writer.Parent is null ? null : memory;
            var space = writer.OpenSpace(new SpaceId(0), parent is null ? null : new SpaceId(0));
            for (var i = 0; i < 600; i++)
            {
                var page = (ulong)random.Next(400);
                var range = new PageRange(Memory.Base + page, 1);
                switch (random.Next(parent is null ? 4 : 5))
                {
                    case 0:
                        space.SetAbsent(range);
                        expected.Remove(page);
                        break;
                    case 1:
                        space.SetZero(range);
                        expected.Set(page, new byte[VirtualPage.Size]);
                        break;
                    case 4 when parent!.Pages.ContainsKey(page):
                        space.Keep(range);
                        expected.Set(page, parent.Pages[page]);
                        break;
                    default:
                        var count = Math.Min(random.Next(random.Next(10) == 0 ? 100 : 4) + 1, 400 - (int)page);
                        var content = new byte[count * VirtualPage.Size];
                        for (var n = 0; n < count; n++)
                        {
                            expected.Fill(random.Next(50), (int)page + n, 1);
                            expected.Pages[page + (ulong)n].CopyTo(content, n * VirtualPage.Size);
                        }

                        space.SetContent(Memory.Base + page, content);
                        break;
                }

                if (random.Next(400) != 0) continue;
                space.Clear();
                expected = new Memory();
            }

            var crid = new Crid(writer.Commit(Memory.Manifest()).Crid);
            using var reader = store.OpenReader();
            using var image = reader.OpenImage(crid);
            expected.AssertEquals(image);
            memory = expected;
        }
    }

    /// <summary>A zero page is not touched: it would be no change of something.</summary>
    private static void Touch(Memory memory, ulong page, Random random)
    {
        if (memory.Pages[page].AsSpan().ContainsAnyExcept((byte)0)) memory.Touch(page, random);
    }

    private static void AssertPatches(TempStore temp, int atLeast, Func<ChunkLocation, bool> anchorsAre)
    {
        var patches = StoreSurgery.Open(temp, db =>
        {
            var found = 0;
            using var i = db.Iterate(ColumnFamily.Patches);
            for (var there = i.SeekToFirst(); there; there = i.Next())
            {
                var group = PatchGroup.Parse(Keys.PatchGroupOf(i.Key), i.Value.ToArray());
                found += group.LiveCount;
                for (var slot = 0; slot < group.Slots; slot++)
                    if (group.IsLive(slot)) Assert.True(anchorsAre(group.Anchor(slot)));
            }

            return found;
        });
        Assert.True(patches >= atLeast, $"{patches} patches");
    }
}
