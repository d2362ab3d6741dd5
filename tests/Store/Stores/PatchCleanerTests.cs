using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Store.Patches;
using Crstore.Store.Reading;
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

            store.CollectGarbage(new GcOptions(false, TimeSpan.FromMinutes(10)), null, default);
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

    [Fact]
    public void Patches_of_sparse_groups_are_stored_again_and_count_as_unchanged()
    {
        using var temp = new TempStore();
        var (a, b, memory) = Sparse(temp);
        var last = TouchMost(memory);
        var c = new Crid(Chain.Increment(temp, memory, last));
        var moved = StoreSurgery.Open(temp, db =>
        {
            var map = new StoreSegments(db).Open(c, new SpaceId(0))!;
            return Enumerable.Range(0, SparsePages / 8).Count(i => map.Find(Memory.Base + (ulong)i * 8).First is { IsPatch: true } patch && patch.Crid == c);
        });
        Assert.Equal(SparsePages / 8, moved);
        using var store = temp.Open();
        using (var reader = store.OpenReader())
        {
            Assert.Equal((SparsePages * 7 / 8UL, SparsePages * 7 / 8UL), (reader.Header(c)!.Pages.Changed, reader.Header(c)!.Pages.Fresh));
            Assert.Equal(SparsePages * 7 / 8UL, reader.Diff(b, c, null, default).Spaces[0].PagesChanged);
        }

        Assert.Equal(0UL, temp.Capture(last, "other").Pages.Fresh);
        store.Forget([a, b], dryRun: false);
        store.CollectGarbage(new GcOptions(false, TimeSpan.FromMinutes(10)), null, default);
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(c)) last.AssertEquals(image);
        Assert.Equal(0UL, temp.Capture(last, "third").Pages.Fresh);
        Assert.DoesNotContain(StoreSurgery.AllKeys(temp, ColumnFamily.Patches), key => Keys.PatchGroupOf(key).Crid == b); // though the index has none of them
    }

    [Fact]
    public void Patches_of_a_process_that_is_left_out_in_the_end_are_not_stored_again()
    {
        using var temp = new TempStore();
        var (_, _, memory) = Sparse(temp);
        var last = TouchMost(memory);
        using var store = temp.Open();
        using var writer = store.BeginCapture("s", full: false);
        foreach (var id in new uint[] { 0, 1 })
        {
            var space = writer.OpenSpace(new SpaceId(id), new SpaceId(0));
            last.Keep(space, p => p % 8 == 0);
            last.WriteTo(space, last.Pages.Keys.Where(p => p % 8 != 0 && (id == 0 || p < 9)));
        }

        var header = writer.Commit(Memory.Manifest()); // the second one has ended
        Assert.Equal((SparsePages * 7 / 8UL, SparsePages * 7 / 8UL), (header.Pages.Changed, header.Pages.Fresh));
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(header.Crid));
        last.AssertEquals(image);
    }

    [Fact]
    public void A_group_all_of_whose_patches_were_stored_again_is_freed_once_nobody_needs_it()
    {
        using var temp = new TempStore();
        var (memory, random) = (Memory.Random(7, 1024), Seeds.Random());
        temp.Capture(memory);
        Crid Next(int from, int count, Action<Memory>? more = null)
        {
            var next = memory.Clone();
            for (var p = from; p < from + count; p++) next.Touch((ulong)p, random);
            more?.Invoke(next);
            var crid = new Crid(Chain.Increment(temp, memory, next));
            memory = next;
            return crid;
        }

        // One group, of which eight pages lie in another segment; a page in a frame, so that the CRID is never dead as a whole.
        var b = Next(512 - 56, PatchGroupId.Slots, next => next.Fill(8, 1500, 1));
        var c = Next(512 - 56, 56);
        Next(600, PatchGroupId.Slots); // stores the eight again: the index has them there
        using var store = temp.Open();
        foreach (var crid in new[] { b, c })
        {
            store.Forget([crid], dryRun: false);
            store.CollectGarbage(new GcOptions(false, TimeSpan.FromMinutes(10)), null, default);
        }

        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(new Crid(reader.Headers().Max(h => h.Crid)))) memory.AssertEquals(image);
        Assert.Contains(StoreSurgery.AllKeys(temp, ColumnFamily.Chunks), key => Keys.FrameOf(key).Crid == b);
        Assert.DoesNotContain(StoreSurgery.AllKeys(temp, ColumnFamily.Patches), key => Keys.PatchGroupOf(key).Crid == b);
    }

    [Fact]
    public void A_patch_that_gc_took_out_of_the_index_is_not_put_back_by_storing_it_again()
    {
        using var temp = new TempStore();
        var (a, _, memory) = Sparse(temp);
        StoreSurgery.SpoilPage(temp, new ChunkLocation(a, 8));
        StoreSurgery.Edit(temp, (batch, _) => // as gc does with the patches to a damaged page
        {
            var key = new byte[ContentHash.Size];
            PageHash.Of(memory.Pages[8]).Write(key);
            batch.Delete(ColumnFamily.Index, key);
        });
        var last = TouchMost(memory);
        Chain.Increment(temp, memory, last);
        var other = temp.Capture(last, "other");
        Assert.Equal(1UL, other.Pages.Fresh);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(other.Crid));
        last.AssertEquals(image);
    }

    [Fact]
    public void A_damaged_block_of_patches_does_not_end_the_capture_that_would_store_them_again()
    {
        using var temp = new TempStore();
        temp.Options = temp.Options with { SmallCapturePages = 0 }; // a table of patches alone
        var (_, b, memory) = Sparse(temp);
        var place = StoreSurgery.Open(temp, db => db.Get(ColumnFamily.Patches, StoreSurgery.Key(new(b, 1)))!.AsSpan(200, 32).ToArray());
        var tables = Directory.GetFiles(Path.Combine(temp.Directory, "db"), "*.sst").Select(f => (File: f, Bytes: File.ReadAllBytes(f)))
            .Where(t => t.Bytes.AsSpan().IndexOf(place) >= 0).ToList();
        var (file, bytes) = Assert.Single(tables);
        bytes[bytes.AsSpan().IndexOf(place)] ^= 1; // the checksum of the second group's block tells
        File.WriteAllBytes(file, bytes);
        var last = TouchMost(memory);
        var c = new Crid(Chain.Increment(temp, memory, last));
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(c);
        var page = new byte[VirtualPage.Size];
        foreach (var p in new ulong[] { 1, 8, 65, SparsePages - 8 }) // written now, stored again, and again behind the damage
        {
            image.Read(default, new PageRange(Memory.Base + p, 1), page);
            Assert.Equal(last.Pages[p], page);
        }

        Assert.Throws<StoreDamagedException>(() => image.Read(default, new PageRange(Memory.Base + 64, 1), page));
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

    private const int SparsePages = 640;

    /// <summary>A base, and an increment with ten full groups of patches.</summary>
    private static (Crid Base, Crid Increment, Memory Memory) Sparse(TempStore temp)
    {
        var memory = Memory.Random(7, SparsePages);
        var first = new Crid(temp.Capture(memory).Crid);
        var next = memory.Clone();
        for (ulong p = 0; p < SparsePages; p++) next.Touch(p, new Random((int)p));
        return (first, new Crid(Chain.Increment(temp, memory, next)), next);
    }

    /// <summary>All pages but each eighth, so that of each group eight patches are left.</summary>
    private static Memory TouchMost(Memory memory)
    {
        var next = memory.Clone();
        for (ulong p = 0; p < SparsePages; p++)
            if (p % 8 != 0) next.Touch(p, new Random((int)p + SparsePages));
        return next;
    }
}
