using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Store.Patches;
using Crstore.Tests.Store.Maintenance;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class PatchCleanerTests
{
    private const int Pages = 2000;
    private const int Touched = 64; // a group each
    private const int Damaged = 30;

    [Fact]
    public void The_patches_of_a_long_chain_stay_together_and_what_was_moved_is_neither_new_nor_changed()
    {
        using var temp = new TempStore(new Compression(null));
        var all = Grow(temp, Memory.Random(1, Pages), 100, Seeds.Random());
        using (var store = temp.Open())
        using (var reader = store.OpenReader())
        {
            Assert.InRange(GroupsOf(reader, all.Keys.Last()), 2, 75); // 99 if none were moved
            foreach (var crid in all.Keys.Skip(1))
            {
                var pages = reader.Header(crid)!.Pages;
                Assert.Equal((Touched, Touched), ((int)pages.Fresh, (int)pages.Changed));
            }
        }

        // Whichever are forgotten, the others have what they need, and nothing is left of those.
        using (var store = temp.Open())
        {
            foreach (var crid in all.Keys.Where((_, i) => i % 3 != 1).SkipLast(1).ToList())
            {
                store.Forget([crid], dryRun: false);
                all.Remove(crid);
            }

            store.CollectGarbage(new GcOptions(false, TimeSpan.FromSeconds(30)), null, default);
            using var reader = store.OpenReader();
            var verified = reader.Verify([], new VerifyOptions(100), null, default);
            Assert.Empty(verified.Problems);
            Assert.Empty(verified.StoreProblems);
            Chain.AssertAll(store, all);
        }
    }

    [Fact]
    public void Damaged_groups_stay_where_they_are_and_fail_no_capture()
    {
        using var temp = new TempStore(new Compression(null));
        var random = Seeds.Random();
        var all = Grow(temp, Memory.Random(1, Pages), 60, random);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            Span<byte> key = stackalloc byte[Keys.FrameSize];
            foreach (var crid in all.Keys.Skip(10).Take(Damaged))
            {
                Keys.PatchGroup(new PatchGroupId(crid, 0), key);
                var group = db.Get(ColumnFamily.Patches, key)!;
                group[^1] ^= 1;
                batch.Put(ColumnFamily.Patches, key, group);
            }
        });
        var (last, memory) = all.Last();
        for (var i = 0; i < 12; i++) // they have few enough current patches by and by
        {
            var next = memory.Clone();
            foreach (var page in Some(random)) next.Touch(page, random);
            last = new Crid(Chain.Increment(temp, memory, next));
            memory = next;
        }

        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(last);
        var (read, content) = (0, new byte[VirtualPage.Size]);
        for (ulong p = 0; p < Pages; p++)
        {
            try
            {
                image.Read(default, new PageRange(Memory.Base + p, 1), content);
                Assert.Equal(memory.Pages[p], content);
                read++;
            }
            catch (StoreDamagedException)
            {
                continue; // one of theirs
            }
        }

        Assert.InRange(read, Pages - Damaged * Touched, Pages - 1);
    }

    private static SortedDictionary<Crid, Memory> Grow(TempStore temp, Memory memory, int length, Random random)
    {
        var all = new SortedDictionary<Crid, Memory> { [new Crid(temp.Capture(memory).Crid)] = memory };
        while (all.Count < length)
        {
            var next = memory.Clone();
            foreach (var page in Some(random)) next.Touch(page, random);
            all.Add(new Crid(Chain.Increment(temp, memory, next)), memory = next);
        }

        return all;
    }

    private static HashSet<ulong> Some(Random random)
    {
        var some = new HashSet<ulong>();
        while (some.Count < Touched) some.Add((ulong)random.Next(Pages));
        return some;
    }

    private static int GroupsOf(StoreReader reader, Crid crid)
    {
        var groups = new HashSet<PatchGroupId>();
        reader.Segments.Open(crid, default)!.Visit(PageMap.Everything, run =>
        {
            if (run.Kind != PageKind.Chunk || !run.First.IsPatch) return;
            for (var page = run.Range.Start; page.Number < run.Range.End.Number; page += 1) groups.Add(PatchGroupId.Of(run.LocationOf(page)));
        });
        return groups.Count;
    }
}
