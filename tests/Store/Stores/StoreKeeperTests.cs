using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Store.Reading;
using Xunit;
using static Crstore.Tests.Store.Stores.Captures;

namespace Crstore.Tests.Store.Stores;

/// <summary>A store that stays open for writing between captures, and everybody else who wants it.</summary>
public sealed class StoreKeeperTests
{
    [Fact]
    public void What_is_captured_with_the_store_kept_open_is_there_for_everybody_at_once()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var keeper = Keep(store);
        var memory = Memory.Random(1, 200);
        var random = new Random(5);
        var kept = 0;
        var all = new List<(Crid Crid, Memory Memory)>();
        for (var i = 0; i < 12; i++)
        {
            kept += keeper.IsOpen ? 1 : 0;
            all.Add((Capture(store, memory), memory));
            using var reader = store.OpenReader();
            Assert.Equal(all.Select(a => a.Crid.Value), reader.Headers().Select(h => h.Crid));
            memory = memory.Clone();
            for (var n = 0; n < 20; n++) memory.Touch((ulong)random.Next(200), random);
        }

        Assert.True(kept > 2, $"it was open for {kept} of 12");
        keeper.GiveAway();
        VerifyAll(store, all);
    }

    [Fact]
    public void Idle_it_is_given_to_whoever_waits_for_it()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var keeper = Keep(store);
        var all = new List<(Crid, Memory)>();
        for (var i = 0; i < 4; i++)
        {
            all.Add(Kept(store, i));
            var other = Memory.Random(100 + i, 30);
            all.Add((new Crid(temp.Capture(other, "other").Crid), other)); // waits for no longer than its lock timeout
            Assert.False(keeper.IsOpen);
        }

        VerifyAll(store, all);
    }

    [Fact]
    public async Task In_use_it_is_given_away_at_the_end_of_the_capture()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var keeper = Keep(store);
        var all = new List<(Crid, Memory)> { Kept(store, 1) };
        var (mine, others) = (Memory.Random(2, 30), Memory.Random(3, 30));
        Task<Crid> other;
        using (var writer = store.BeginCapture("s", false))
        {
            other = Task.Run(() => new Crid(temp.Capture(others, "other").Crid));
            Assert.True(SpinWait.SpinUntil(() => keeper.Bell.HasRung, TimeSpan.FromMinutes(5)));
            Assert.False(other.IsCompleted);
            all.Add((Commit(writer, mine), mine));
        }

        Assert.False(keeper.IsOpen);
        all.Add((await other, others));
        VerifyAll(store, all);
    }

    [Fact]
    public async Task Packing_harder_asks_for_it_like_everybody_else()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var all = new List<(Crid, Memory)> { Kept(store, 1) };
        var mine = Memory.Random(2, 30);
        Task packing;
        using (var writer = store.BeginCapture("s", false))
        {
            packing = Task.Run(() =>
            {
                using var other = temp.Open();
                other.Recompress(null, CancellationToken.None);
            });
            Assert.True(SpinWait.SpinUntil(() => store.Keeper!.Bell.HasRung || packing.IsCompleted, TimeSpan.FromMinutes(5)), "nobody knocked");
            Assert.True(store.Keeper!.Bell.HasRung, "nobody knocked");
            all.Add((Commit(writer, mine), mine));
        }

        await packing;
        VerifyAll(store, all);
    }

    [Fact]
    public void With_the_store_open_no_series_is_waited_for_and_it_is_given_away()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var all = new List<(Crid, Memory)> { Kept(store, 1) };
        using (var second = temp.Open())
        using (var writer = second.BeginCapture("s", false)) // it will want the store
        {
            Assert.Throws<StoreBusyException>(() => store.BeginCapture("s", false));
            Assert.False(store.Keeper!.IsOpen);
            var memory = Memory.Random(2, 30);
            all.Add((Commit(writer, memory), memory));
        }

        all.Add(Kept(store, 3));
        VerifyAll(store, all);
    }

    [Fact]
    public async Task A_reader_that_finds_no_quiet_moment_knocks_too()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var all = new List<(Crid, Memory)> { Kept(store, 1) };
        // What it looks at moves beneath each look, as under a writer of large increments.
        var noise = Path.Combine(store.Paths.Database, "MANIFEST-noise");
        Task<RocksDb> reading;
        using (var writer = store.BeginCapture("s", false)) // the store is open the whole time
        {
            reading = Task.Run(() => Snapshot.Open(store.Paths, () => File.AppendAllText(noise, "x")));
            Assert.True(SpinWait.SpinUntil(() => store.Keeper!.Bell.HasRung || reading.IsCompleted, TimeSpan.FromMinutes(5)));
            Assert.False(reading.IsCompleted);
            var memory = Memory.Random(2, 30);
            all.Add((Commit(writer, memory), memory));
        }

        Assert.False(store.Keeper!.IsOpen);
        (await reading).Dispose();
        VerifyAll(store, all);
    }

    [Fact]
    public void After_a_while_without_use_it_is_closed()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var keeper = store.Keep()!;
        for (var i = 0; i < 2; i++)
        {
            Capture(store, Memory.Random(i, 30));
            Assert.True(SpinWait.SpinUntil(() => !keeper.IsOpen, TimeSpan.FromMinutes(5)));
        }

        Kept(store, 2);
    }

    [Fact]
    public void Forget_and_gc_of_others_between_its_captures_are_seen()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        using var other = temp.Open();
        var first = Memory.Random(1, 300);
        var all = new List<(Crid Crid, Memory Memory)> { (Capture(store, first), first), Kept(store, 2), Kept(store, 3) };
        other.Forget([all[0].Crid, all[1].Crid], dryRun: false);
        var freed = other.CollectGarbage(new GcOptions(false, TimeSpan.FromMinutes(5)), null, CancellationToken.None).ChunksFreed;
        Assert.True(freed > 300, $"{freed} chunks were freed");
        all.RemoveRange(0, 2);
        all.Add((Capture(store, first), first)); // found in no index any more
        store.Forget([all[0].Crid], dryRun: false); // its own, with the store open
        Assert.True(store.Keeper!.IsOpen);
        all.RemoveAt(0);
        all.Add(Kept(store, 2));
        VerifyAll(store, all);
    }

    [Fact]
    public void Two_that_keep_it_and_one_that_does_not_all_go_on()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(0, 3));
        var all = new List<(Crid, Memory)>[3];
        Parallel.For(0, 3, new ParallelOptions { MaxDegreeOfParallelism = 3 }, i =>
        {
            using var store = temp.Open();
            if (i < 2) Keep(store);
            all[i] = [.. Enumerable.Range(0, 12).Select(n =>
            {
                var memory = Memory.Random(i * 100 + n, 20);
                return (Capture(store, memory, $"series {i}"), memory);
            })];
        });
        using var reader = temp.Open();
        VerifyAll(reader, all.SelectMany(a => a));
    }

    [Fact]
    public void After_a_capture_that_failed_it_is_not_open()
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        var all = new List<(Crid, Memory)> { Kept(store, 1) };
        using (store.BeginCapture("s", false)) { } // given up
        Assert.False(store.Keeper!.IsOpen);
        all.Add(Kept(store, 2));
        VerifyAll(store, all);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Nothing_is_committed_into_a_store_that_was_removed(bool duringCapture)
    {
        using var temp = new TempStore();
        using var store = temp.Open();
        Kept(store, 1);
        using (var writer = duringCapture ? store.BeginCapture("s", false) : null)
        {
            Directory.Delete(temp.Directory, recursive: true);
            Assert.ThrowsAny<CrstoreException>(() => writer is null ? Capture(store, Memory.Random(2, 30)) : Commit(writer, Memory.Random(2, 30)));
        }

        Assert.False(store.Keeper!.IsOpen);
        Assert.False(Directory.Exists(Path.Combine(temp.Directory, "db")));
        Directory.CreateDirectory(temp.Directory);
    }

    [Fact]
    public void Nothing_is_committed_into_another_store_in_the_place_of_the_old_one()
    {
        using var temp = new TempStore();
        using var another = new TempStore();
        using var store = temp.Open();
        Kept(store, 1);
        var memory = Memory.Random(2, 30);
        var crid = new Crid(another.Capture(memory).Crid);
        Directory.Delete(temp.Directory, recursive: true);
        Directory.Move(another.Directory, temp.Directory);
        Assert.Throws<StoreBusyException>(() => Capture(store, Memory.Random(3, 30)));
        using var now = temp.Open();
        VerifyAll(now, [(crid, memory)]);
    }

    [Fact]
    public void On_a_full_disk_a_capture_fails_and_when_there_is_room_it_goes_on()
    {
        using var mount = Mount.Tmpfs("100m");
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(Path.Combine(mount.Path, "store")), out _);
        var all = new List<(Crid, Memory)> { Kept(store, 1) };
        var fill = Path.Combine(mount.Path, "fill");
        FullDiskTests.Fill(mount.Path);
        Assert.Contains("No space left", Assert.Throws<EnvironmentException>(() => Capture(store, Memory.Random(2, 30))).Message, StringComparison.Ordinal);
        Assert.False(store.Keeper!.IsOpen);
        File.Delete(fill);
        all.Add(Kept(store, 3));
        VerifyAll(store, all);
    }

    /// <summary>The next one would try again, and after it the next: what each left in the store would fill the disk.</summary>
    [Fact]
    public void Where_little_is_free_a_capture_whose_index_can_not_be_built_leaves_no_frames_in_the_store()
    {
        using var mount = Mount.Tmpfs("60m");
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(Path.Combine(mount.Path, "store")) { SmallCapturePages = 100 }, out _);
        var (crid, memory) = Kept(store, 1);
        using (var writer = store.BeginCapture("s", full: false))
        {
            var inTheWay = Path.Combine(store.Paths.Root, "incoming", $"{writer.Crid}-index-0.sst");
            Directory.CreateDirectory(inTheWay);
            Assert.ThrowsAny<CrstoreException>(() => Commit(writer, Memory.Random(2, 300)));
            Directory.Delete(inTheWay);
        }

        VerifyAll(store, [(crid, memory)]);
        using var reader = store.OpenReader();
        using var last = reader.Database.Iterate(ColumnFamily.Chunks);
        Assert.True(last.SeekToLast());
        Assert.Equal(crid, Keys.CridOf(last.Key));
    }

    [Fact]
    public async Task Who_has_waited_for_the_write_lock_is_next()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        var paths = new StorePaths(temp.Directory);
        using var bell = TurnBell.TryHang(paths)!;
        for (var round = 0; round < 20; round++)
        {
            var order = new List<string>();
            var held = WriteLock.Take(paths, "test", temp.Options, bell);
            Assert.False(bell.HasRung);
            var waiting = Task.Run(() =>
            {
                using var mine = WriteLock.Take(paths, "test", temp.Options);
                lock (order) order.Add("waiter");
            });
            Assert.True(SpinWait.SpinUntil(() => HasTurn(paths), TimeSpan.FromMinutes(5)));
            Assert.True(bell.HasRung);
            held.Dispose();
            using (WriteLock.Take(paths, "test", temp.Options, bell))
                lock (order) order.Add("again");
            await waiting;
            Assert.Equal(["waiter", "again"], order);
        }
    }

    /// <summary>Somebody waits and has knocked by now.</summary>
    private static bool HasTurn(StorePaths paths)
    {
        if (!File.Exists(paths.Turn)) return false;
        using var free = HeldLock.TryShared(paths.Turn);
        return free is null;
    }

    /// <summary>A capture behind which the store is kept.</summary>
    private static (Crid, Memory) Kept(CheckpointStore store, int seed)
    {
        var keeper = Keep(store);
        var memory = Memory.Random(seed, 30);
        var crid = Capture(store, memory);
        return keeper.IsOpen ? (crid, memory) : throw new InvalidOperationException("it does not stay open");
    }

    /// <summary>Keeps the store open for longer than any machine takes for a test.</summary>
    private static StoreKeeper Keep(CheckpointStore store)
    {
        var keeper = store.Keep()!;
        keeper.IdleTime = keeper.OpenTime = TimeSpan.FromHours(1);
        return keeper;
    }
}
