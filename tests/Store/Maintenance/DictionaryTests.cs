using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Dictionaries;
using Crstore.Store.Frames;
using Crstore.Store.Maintenance;
using Crstore.Store.Native;
using Crstore.Tests.Store.Stores;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Maintenance;

/// <summary>gc --recompress with what comes again and again in many frames kept once.</summary>
public sealed class DictionaryTests
{
    private const int Least = 16 << 10;
    private static readonly GcOptions Now = new(false, TimeSpan.FromMinutes(10));
    private readonly byte[][] pool;
    private readonly Random random = Seeds.Random();

    public DictionaryTests()
    {
        pool = new byte[20][];
        for (var i = 0; i < pool.Length; i++) random.NextBytes(pool[i] = new byte[3000]); // nothing that a frame by itself could pack
    }

    [Fact]
    public void What_many_frames_repeat_at_other_places_is_stored_once_and_everything_reads_as_before()
    {
        using var temp = new TempStore();
        var all = Two(temp);
        using var store = temp.Open();
        var keys = StoreSurgery.AllKeys(temp, ColumnFamily.Chunks);
        var before = Bytes(temp);
        var result = Recompress(store);
        Assert.Equal(keys, StoreSurgery.AllKeys(temp, ColumnFamily.Chunks));
        Assert.Equal(before - Bytes(temp), (long)result.BytesSaved); // the dictionary counts
        Assert.InRange(Bytes(temp), 1, before * 6 / 10);
        Assert.Equal([1UL], Dictionaries(temp));
        AssertSound(store, all);

        // What is captured later is packed with the same one, as long as a new one would be no larger; what is packed goes on serving captures.
        var next = all.Values.First().Clone();
        for (ulong p = 0; p < 60; p++) next.Set(p * 3, Page());
        all.Add(new Crid(Chain.Increment(temp, all.Values.First(), next, "a")), next);
        Assert.True(Recompress(store).Packed > 0);
        Assert.Equal([1UL], Dictionaries(temp));
        AssertSound(store, all);
    }

    [Fact]
    public void A_dictionary_goes_with_the_last_frame_that_may_need_it()
    {
        using var temp = new TempStore();
        var all = Two(temp);
        using var store = temp.Open();
        Recompress(store);
        foreach (var crid in all.Keys.ToList())
        {
            Assert.Equal([1UL], Dictionaries(temp));
            store.Forget([crid], dryRun: false);
            all.Remove(crid);
            store.CollectGarbage(Now, null, default);
            AssertSound(store, all);
        }

        Assert.Empty(StoreSurgery.AllKeys(temp, ColumnFamily.Dictionaries));
        Two(temp);
        Recompress(store);
        Assert.Equal([2UL], Dictionaries(temp)); // no number comes again
    }

    [Fact]
    public void A_frame_that_gc_rewrites_needs_no_dictionary_any_more()
    {
        using var temp = new TempStore();
        var first = Memory(480);
        var a = new Crid(temp.Capture(first).Crid);
        var rest = first.Clone();
        for (ulong p = 0; p < 480; p++)
            if (p % 16 >= 4) rest.Remove(p);
        var b = new Crid(Chain.Increment(temp, first, rest));
        using var store = temp.Open();
        Recompress(store);
        Assert.NotNull(StoreSurgery.Open(temp, db => FrameReader.Parse(new FrameId(a, 0), StoreSurgery.Frame(db, new FrameId(a, 0))).Dictionary));
        store.Forget([a], dryRun: false);
        Assert.Equal(30UL, store.CollectGarbage(Now, null, default).FramesRewritten);
        Assert.Null(StoreSurgery.Open(temp, db => FrameReader.Parse(new FrameId(a, 0), StoreSurgery.Frame(db, new FrameId(a, 0))).Dictionary));
        AssertSound(store, new() { [b] = rest });
    }

    [Fact]
    public void A_dictionary_that_gc_takes_away_between_two_steps_is_put_again_with_the_next_frames()
    {
        using var temp = new TempStore();
        var all = Two(temp);
        using var store = temp.Open();
        var a = all.Keys.First();
        var gone = false;
        var recompressor = new Recompressor(store, new Sink(_ =>
        {
            if (gone || Dictionaries(temp).Count == 0 || Users(temp).Any(u => u != a)) return;
            gone = true; // of A, and of it alone, some frames are packed with it
            store.Forget([a], dryRun: false);
            all.Remove(a);
            store.CollectGarbage(Now, null, default);
            Assert.Empty(Dictionaries(temp));
        }), default) { BytesAtOnce = 256 << 10, LeastDictionaryBytes = Least };
        recompressor.Run();
        Assert.True(gone, "gc came too late");
        Assert.Equal(2, recompressor.Dictionaries);
        Assert.Equal([1UL], Dictionaries(temp));
        Assert.Equal(all.Keys, Users(temp));
        AssertSound(store, all);
    }

    [Fact]
    public void Cut_short_anywhere_no_frame_is_without_its_dictionary_and_the_rest_is_packed_with_the_same_one()
    {
        using var temp = new TempStore();
        var all = Two(temp);
        using var store = temp.Open();
        var runs = 0;
        for (var done = false; !done; runs++)
        {
            using var cancel = new CancellationTokenSource();
            var pieces = 0;
            try
            {
                new Recompressor(store, new Sink(p => { if (p.Phase.Contains("packing", StringComparison.Ordinal) && ++pieces == 2) cancel.Cancel(); }), cancel.Token) { BytesAtOnce = 512 << 10, BetweenReports = TimeSpan.MaxValue, LeastDictionaryBytes = Least }.Run();
                done = true;
            }
            catch (OperationCanceledException)
            {
                if (runs == 1) AssertSound(store, all);
            }

            Assert.True(runs < 100, "it never ends");
        }

        Assert.True(runs > 2, "it was hardly ever cut short");
        Assert.Equal([1UL], Dictionaries(temp));
        AssertSound(store, all);
    }

    [Fact]
    public void Without_its_dictionary_a_frame_is_damaged_verify_says_so_and_captures_store_its_pages_again()
    {
        using var temp = new TempStore();
        var memory = Memory(480);
        var a = new Crid(temp.Capture(memory).Crid);
        using var store = temp.Open();
        Recompress(store);
        StoreSurgery.Edit(temp, (batch, _) =>
        {
            batch.Delete(ColumnFamily.Dictionaries, FirstPiece(1));
        });
        using (var reader = store.OpenReader())
        {
            var result = reader.Verify([], new VerifyOptions(0), null, default); // also without reading content
            Assert.Equal([a], result.Broken);
            Assert.Contains(result.Problems, p => p.Text.Contains("dictionary 1", StringComparison.Ordinal));
            using var image = reader.OpenImage(a);
            Assert.Contains("dictionary 1", Assert.Throws<StoreDamagedException>(() => memory.AssertEquals(image)).Message, StringComparison.Ordinal);
        }

        store.Forget([a], dryRun: false);
        store.CollectGarbage(Now, null, default);
        AssertSound(store, new() { [new Crid(temp.Capture(memory, "again").Crid)] = memory });
    }

    [Fact]
    public void A_dictionary_that_cant_be_read_serves_no_more_frames_and_keeps_no_other_one()
    {
        using var temp = new TempStore();
        temp.Capture(Memory(480), "a");
        using var store = temp.Open();
        Recompress(store);
        StoreSurgery.Open(temp, db =>
        {
            Housekeeping.FlushAll(db);
            return true;
        });
        StoreSurgery.SpoilBlock(temp, ColumnFamily.Dictionaries, FirstPiece(1));
        var b = new Crid(temp.Capture(Memory(480), "b").Crid);
        Assert.True(Recompress(store).Packed > 0);
        Assert.True(StoreSurgery.Open(temp, db => db.Get(ColumnFamily.Dictionaries, FirstPiece(2)) is not null));
        using (var reader = store.OpenReader()) Assert.Empty(reader.Verify([b], new VerifyOptions(100), null, default).Problems);
        store.Forget([b], dryRun: false);
        store.CollectGarbage(Now, null, default);
        Assert.True(StoreSurgery.Open(temp, db => db.Get(ColumnFamily.Dictionaries, FirstPiece(2)) is null));
        Assert.Throws<StoreDamagedException>(() => StoreSurgery.Open(temp, db => db.Get(ColumnFamily.Dictionaries, FirstPiece(1)))); // A has frames
    }

    [Fact]
    public void Frames_are_never_put_beside_another_dictionary_of_the_same_number()
    {
        using var temp = new TempStore();
        var all = Two(temp);
        using var store = temp.Open();
        Recompress(store);
        StoreSurgery.Edit(temp, (batch, _) => StoreMeta.Put(batch, StoreMeta.Dictionaries, 0));
        var c = Memory(500);
        all.Add(new Crid(temp.Capture(c, "c").Crid), c);
        Assert.Contains("dictionary 1", Assert.Throws<StoreDamagedException>(() => Recompress(store)).Message, StringComparison.Ordinal);
        AssertSound(store, all);
    }

    [Fact]
    public void A_frame_with_a_dictionary_has_the_start_of_each_content_address_and_gives_all_of_it()
    {
        using var temp = new TempStore();
        var a = new Crid(temp.Capture(Memory(480)).Crid);
        using var store = temp.Open();
        Recompress(store);
        StoreSurgery.Open(temp, db =>
        {
            for (uint number = 0; number < 30; number++)
            {
                var bytes = StoreSurgery.Frame(db, new FrameId(a, number));
                var frame = FrameReader.Parse(new FrameId(a, number), bytes, db.Dictionaries);
                Assert.Equal(12 + 16 * 8 + 8 + frame.StoredPayloadBytes + 4, bytes.Length);
                for (var slot = 0; slot < 16; slot++)
                {
                    var hash = frame.Hash(slot);
                    Assert.Equal(PageHash.Of(frame.Page(slot)), hash);
                    Assert.Equal(hash.A, frame.HashStart(slot));
                    Assert.True(frame.Fits(slot, hash));
                    Assert.False(frame.Fits(slot, hash with { A = hash.A ^ 1 }));
                    Assert.Equal(frame.Id.Location(slot), Keys.LocationOf(db.Get(ColumnFamily.Index, Key(hash))!));
                }
            }

            return true;
        });
    }

    [Fact]
    public void A_page_that_is_not_what_its_address_starts_with_is_damage_and_gives_no_address()
    {
        using var temp = new TempStore();
        var a = new Crid(temp.Capture(Memory(480)).Crid);
        using var store = temp.Open();
        Recompress(store);
        var id = new FrameId(a, 1);
        var frame = StoreSurgery.Open(temp, db =>
        {
            var bytes = StoreSurgery.Frame(db, id);
            bytes[12 + 3 * 8 + 7] ^= 1; // the last byte of slot 3's
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(^4..), FrameLayout.Checksum(id, bytes.AsSpan(..^4)));
            var spoilt = FrameReader.Parse(id, bytes, db.Dictionaries);
            Assert.Throws<StoreDamagedException>(() => spoilt.Hash(3));
            Assert.Throws<StoreDamagedException>(() => spoilt.Page(3));
            Assert.Equal(PageHash.Of(spoilt.Page(4)), spoilt.Hash(4));
            return spoilt;
        });
        Assert.Equal(16, frame.LiveCount);
    }

    [Fact]
    public void A_page_whose_address_starts_otherwise_is_found_by_verify_with_and_without_its_index_entry_and_never_gets_one_again()
    {
        using var temp = new TempStore();
        var memory = Memory(480);
        var a = new Crid(temp.Capture(memory).Crid);
        using var store = temp.Open();
        Recompress(store);
        var id = new FrameId(a, 1);
        var hash = default(ContentHash);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            var bytes = StoreSurgery.Frame(db, id);
            hash = FrameReader.Parse(id, bytes, db.Dictionaries).Hash(3);
            bytes[12 + 3 * 8] ^= 1; // the first byte of slot 3's
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(^4..), FrameLayout.Checksum(id, bytes.AsSpan(..^4)));
            batch.Put(ColumnFamily.Chunks, StoreSurgery.Key(id), bytes);
        });
        using (var reader = store.OpenReader()) Assert.Contains($"{hash}", Assert.Single(reader.Verify([], new VerifyOptions(0), null, default).StoreProblems), StringComparison.Ordinal);
        StoreSurgery.Edit(temp, (batch, _) =>
        {
            batch.Delete(ColumnFamily.Index, Key(hash));
            StoreMeta.Put(batch, StoreMeta.IndexOwed, 1); // any entry may be missing
        });
        using (var reader = store.OpenReader())
        {
            var result = reader.Verify([], new VerifyOptions(100), null, default);
            Assert.Equal([a], result.Broken);
            Assert.Contains(result.Problems, p => p.Text.Contains("slot 3", StringComparison.Ordinal));
            using var image = reader.OpenImage(a);
            Assert.Throws<StoreDamagedException>(() => memory.AssertEquals(image));
        }

        Assert.Equal(1UL, store.CollectGarbage(Now, null, default).DamagedFrames);
        Assert.Null(StoreSurgery.Open(temp, db => db.Get(ColumnFamily.Index, Key(hash))));
    }

    [Fact]
    public void Where_the_dictionary_is_gone_a_gc_that_restores_the_index_goes_on_without_its_frames()
    {
        using var temp = new TempStore();
        var a = new Crid(temp.Capture(Memory(480)).Crid);
        using var store = temp.Open();
        Recompress(store);
        var other = new byte[VirtualPage.Size];
        random.NextBytes(other);
        var memory = new Memory();
        memory.Set(3, other);
        var b = new Crid(temp.Capture(memory, "b").Crid);
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            batch.Delete(ColumnFamily.Dictionaries, FirstPiece(1));
            batch.Delete(ColumnFamily.Index, Key(PageHash.Of(other)));
            StoreMeta.Put(batch, StoreMeta.IndexOwed, 1); // any entry may be missing
        });
        Assert.Equal(30UL, store.CollectGarbage(Now, null, default).DamagedFrames);
        Assert.Equal(new FrameId(b, 0).Location(0), StoreSurgery.Open(temp, db => Keys.LocationOf(db.Get(ColumnFamily.Index, Key(PageHash.Of(other)))!)));
    }

    [Fact]
    public void Pages_made_up_to_have_features_everywhere_cost_no_more_than_others()
    {
        // Six bytes again and again are six hashes in turn: now and then two of them are features.
        var pages = new byte[VirtualPage.Size];
        for (var trial = 0; trial < 2000; trial++)
        {
            random.NextBytes(pages.AsSpan(0, 6));
            for (var i = 6; i < pages.Length; i++) pages[i] = pages[i - 6];
            Assert.All(Repetitions.Of(pages), part => Assert.InRange(part.Length, 0, 64));
        }
    }

    [Fact]
    public void Damage_to_one_piece_of_a_dictionary_costs_only_what_is_made_from_it()
    {
        using var temp = new TempStore();
        temp.Capture(Memory(1));
        var content = new byte[DictionaryPiece.Size * 2 + 500];
        random.NextBytes(content);
        var id = new DictionaryId(7);
        StoreSurgery.Edit(temp, (batch, _) => StoredDictionary.Of(id, content).Put(batch));
        var whole = StoreSurgery.Open(temp, db => db.Dictionaries.Find(id))!;
        Assert.Null(whole.Damage);
        Assert.True(whole.Content.SequenceEqual(content));
        StoreSurgery.Edit(temp, (batch, db) =>
        {
            var key = new byte[Keys.FrameSize];
            Keys.DictionaryPiece(id, 1, key);
            var record = db.Get(ColumnFamily.Dictionaries, key)!;
            record[record.Length / 2] ^= 1;
            batch.Put(ColumnFamily.Dictionaries, key, record);
        });
        var damaged = StoreSurgery.Open(temp, db => db.Dictionaries.Find(id))!;
        Assert.Equal("dictionary 7, piece 1: wrong checksum", damaged.Damage);
        Assert.True(damaged.Content[..DictionaryPiece.Size].SequenceEqual(content.AsSpan(0, DictionaryPiece.Size)));
        Assert.True(damaged.Content[(2 * DictionaryPiece.Size)..].SequenceEqual(content.AsSpan(2 * DictionaryPiece.Size)));
        GC.KeepAlive(whole);
        GC.KeepAlive(damaged);
    }

    [Fact]
    public void What_comes_in_several_frames_is_found_wherever_it_lies_and_what_one_frame_repeats_by_itself_is_not()
    {
        var shared = pool[0].AsSpan(0, 2500);
        var seen = new Repetitions(1 << 20);
        for (uint f = 0; f < 5; f++)
        {
            var pages = new byte[4 * VirtualPage.Size];
            random.NextBytes(pages);
            shared.CopyTo(pages.AsSpan(random.Next(VirtualPage.Size)));
            for (var i = 2; i < 4; i++) pool[1 + f].CopyTo(pages, i * VirtualPage.Size); // twice, but nowhere else
            seen.Add(new FrameId(new Crid(1), f), Repetitions.Of(pages), weight: 100);
        }

        var best = seen.Best(100);
        Assert.InRange(best.Count, 2, 6); // about once, of whichever frame
        Assert.All(best, b => Assert.InRange(b.Part, 0, 2 * VirtualPage.Size / Repetitions.PartBytes - 1));
        Assert.Equal(best.OrderBy(b => b.Frame.Number).ThenBy(b => b.Part), best);
    }

    [Fact]
    public void Of_what_comes_as_often_that_is_chosen_which_takes_most_bytes_where_it_comes()
    {
        var seen = new Repetitions(1 << 20);
        for (uint f = 0; f < 8; f++) seen.Add(new FrameId(new Crid(1), f), Repetitions.Of(pool[f / 2]), weight: (byte)(f / 2 == 2 ? 250 : 10));

        var best = seen.Best(2);
        Assert.Equal(2, best.Count);
        Assert.All(best, b => Assert.InRange(b.Frame.Number, 4u, 5u));
    }

    private static byte[] Key(ContentHash hash)
    {
        var key = new byte[ContentHash.Size];
        hash.Write(key);
        return key;
    }

    private static byte[] FirstPiece(ulong dictionary)
    {
        var key = new byte[Keys.FrameSize];
        Keys.DictionaryPiece(new DictionaryId(dictionary), 0, key);
        return key;
    }

    private static RecompressResult Recompress(CheckpointStore store) => new Recompressor(store, null, default) { LeastDictionaryBytes = Least }.Run();

    private static List<ulong> Dictionaries(TempStore temp) =>
        [.. ReadKeys(temp).Where(k => k.User is null).Select(k => k.Id.Value).Distinct()];

    private static List<Crid> Users(TempStore temp) => [.. ReadKeys(temp).Where(k => k.User is not null).Select(k => k.User!.Value)];

    private static List<(DictionaryId Id, Crid? User)> ReadKeys(TempStore temp)
    {
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var i = reader.Database.Iterate(ColumnFamily.Dictionaries);
        var keys = new List<(DictionaryId Id, Crid? User)>();
        for (var there = i.SeekToFirst(); there; there = i.Next()) keys.Add(Keys.DictionaryOf(i.Key));
        return keys;
    }

    private static long Bytes(TempStore temp) => StoreSurgery.Open(temp, db =>
    {
        long sum = 0;
        foreach (var family in new[] { ColumnFamily.Chunks, ColumnFamily.Dictionaries })
        {
            using var i = db.Iterate(family);
            for (var there = i.SeekToFirst(); there; there = i.Next()) sum += i.Value.Length;
        }

        return sum;
    });

    private static void AssertSound(CheckpointStore store, SortedDictionary<Crid, Memory> all)
    {
        Chain.AssertAll(store, all);
        using var reader = store.OpenReader();
        var result = reader.Verify([], new VerifyOptions(100), null, default);
        Assert.Empty(result.Problems);
        Assert.Empty(result.StoreProblems);
    }

    /// <summary>Two checkpoints of two series whose pages share much and none of which is another one's.</summary>
    private SortedDictionary<Crid, Memory> Two(TempStore temp)
    {
        var (a, b) = (Memory(500), Memory(500));
        return new() { [new Crid(temp.Capture(a, "a").Crid)] = a, [new Crid(temp.Capture(b, "b").Crid)] = b };
    }

    private Memory Memory(int pages)
    {
        var memory = new Memory();
        for (ulong p = 0; p < (ulong)pages; p++) memory.Set(p, Page());
        return memory;
    }

    /// <summary>Most of one of a few contents, at any place.</summary>
    private byte[] Page()
    {
        var page = new byte[VirtualPage.Size];
        random.NextBytes(page.AsSpan(0, 64));
        var of = pool[random.Next(pool.Length)];
        of.CopyTo(page, random.Next(64, page.Length - of.Length));
        return page;
    }

    private sealed class Sink(Action<StoreProgress> report) : IProgress<StoreProgress>
    {
        public void Report(StoreProgress value) => report(value);
    }
}
