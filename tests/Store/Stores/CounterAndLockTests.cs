using System.Diagnostics;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Layout;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class CounterAndLockTests
{
    [Fact]
    public void Crids_go_up_by_one()
    {
        using var temp = new TempStore();
        Assert.Equal([1UL, 2UL, 3UL], Enumerable.Range(0, 3).Select(i => temp.Capture(Memory.Random(i, 3)).Crid));
    }

    [Theory]
    [InlineData("lost")]
    [InlineData("empty")]
    [InlineData("first slot")]
    [InlineData("second slot")]
    [InlineData("garbage")]
    public void A_lost_or_damaged_counter_never_gives_out_a_crid_again(string damage)
    {
        using var temp = new TempStore();
        for (var i = 0; i < 3; i++) temp.Capture(Memory.Random(i, 3));
        var path = new StorePaths(temp.Directory).Counter;
        var bytes = File.ReadAllBytes(path);
        switch (damage)
        {
            case "lost": File.Delete(path); break;
            case "empty": File.WriteAllBytes(path, []); break;
            case "first slot": bytes[9] ^= 1; File.WriteAllBytes(path, bytes); break;
            case "second slot": bytes[512 + 9] ^= 1; File.WriteAllBytes(path, bytes); break;
            default: Array.Fill(bytes, (byte)0x5a); File.WriteAllBytes(path, bytes); break;
        }

        var next = temp.Capture(Memory.Random(9, 3)).Crid;
        Assert.True(next > 3 + CridCounter.Leap, $"{next} may have been given out before");
        Assert.Equal(next + 1, temp.Capture(Memory.Random(10, 3)).Crid);
    }

    [Theory]
    [InlineData("lost")]
    [InlineData("empty")]
    [InlineData("first slot")]
    public void A_store_of_which_a_backup_brought_back_the_database_alone_never_gives_out_a_crid_again(string counter)
    {
        using var temp = new TempStore();
        for (var i = 0; i < 3; i++) temp.Capture(Memory.Random(i, 3));
        var paths = new StorePaths(temp.Directory);
        File.Delete(paths.Format);
        var bytes = File.ReadAllBytes(paths.Counter);
        bytes[9] ^= 1;
        if (counter == "lost") File.Delete(paths.Counter);
        else File.WriteAllBytes(paths.Counter, counter == "empty" ? [] : bytes);
        var next = temp.Capture(Memory.Random(9, 3)).Crid;
        Assert.True(next > 3 + CridCounter.Leap, $"{next} may have been given out before");
        Assert.Equal(next + 1, temp.Capture(Memory.Random(10, 3)).Crid);
    }

    [Theory]
    [InlineData(Crstore.Store.Native.ColumnFamily.Chunks)]
    [InlineData(Crstore.Store.Native.ColumnFamily.Maps)]
    [InlineData(Crstore.Store.Native.ColumnFamily.Bodies)]
    public void A_crid_that_left_something_behind_is_never_committed_again(object family)
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        using var store = temp.Open();
        using var writer = store.BeginCapture("s", false);
        Memory.Random(2, 3).WriteTo(writer.OpenSpace(new SpaceId(0), null));
        Maintenance.StoreSurgery.Edit(temp, (batch, _) => // as forget leaves it
            batch.Put((Crstore.Store.Native.ColumnFamily)family, [.. Keys.Crid(writer.Crid), 0, 0, 0, 7], [1]));
        var e = Assert.Throws<StoreDamagedException>(() => writer.Commit(Memory.Manifest()));
        Assert.Contains("given out before", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Many_threads_never_get_the_same_crid()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        var paths = new StorePaths(temp.Directory);
        var all = Enumerable.Range(0, 8).AsParallel().WithDegreeOfParallelism(8)
            .SelectMany(_ => Enumerable.Range(0, 50).Select(_ => CridCounter.Next(paths, TimeSpan.FromMinutes(10), () => throw new InvalidOperationException("the counter is whole"))).ToList())
            .ToList();
        Assert.Equal(400, all.Distinct().Count());
        Assert.Equal(401UL, all.Max().Value);
    }

    [Fact]
    public void A_writer_that_waits_says_for_whom_and_goes_on_when_the_lock_is_free()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        var told = new List<string>();
        using var held = HeldLock.Take(new StorePaths(temp.Directory).WriteLock, "gc", "the store", TimeSpan.Zero, null);
        temp.Options = temp.Options with
        {
            Waiting = sentence =>
            {
                told.Add(sentence);
                held.Dispose(); // it goes on only because of this
            },
        };
        temp.Capture(Memory.Random(2, 3));
        Assert.Matches($@"^waiting for crstore gc \(pid {Environment.ProcessId}, since \d{{4}}-.*Z\)$", Assert.Single(told));
    }

    [Fact]
    public void A_writer_that_may_not_wait_longer_names_the_holder_and_leaves_no_trace()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        temp.Options = temp.Options with { LockTimeout = TimeSpan.FromMilliseconds(300) };
        using (HeldLock.Take(new StorePaths(temp.Directory).WriteLock, "gc", "the store", TimeSpan.Zero, null))
        {
            var e = Assert.Throws<StoreBusyException>(() => temp.Capture(Memory.Random(2, 6000)));
            Assert.Contains($"crstore gc (pid {Environment.ProcessId}", e.Message, StringComparison.Ordinal);
        }

        Assert.Empty(Directory.GetFiles(Path.Combine(temp.Directory, "incoming")));
        Assert.Empty(Directory.GetFiles(Path.Combine(temp.Directory, "sessions")));
        using var store = temp.Open();
        using var reader = store.OpenReader();
        Assert.Single(reader.Headers());
    }

    [Fact]
    public void A_lock_whose_holder_was_killed_is_free()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        var path = new StorePaths(temp.Directory).WriteLock;
        using (var holder = Process.Start(new ProcessStartInfo("flock", ["-x", path, "sleep", "1000"]))!)
        {
            Assert.Throws<StoreBusyException>(() =>
            {
                for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromMinutes(5);) // until it has it
                {
                    HeldLock.Take(path, "test", "the store", TimeSpan.Zero, null).Dispose();
                    Thread.Sleep(10);
                }
            });
            holder.Kill(entireProcessTree: true); // the lock's open file is the child's as well
            holder.WaitForExit();
        }

        temp.Capture(Memory.Random(2, 3));
    }

    [Fact]
    public void One_capture_of_a_series_at_a_time_others_beside_it()
    {
        using var temp = new TempStore();
        using var impatient = CheckpointStore.OpenOrCreate(temp.Options with { LockTimeout = TimeSpan.FromMilliseconds(300) }, out _);
        using var store = temp.Open();
        using (store.BeginCapture("s", false))
        {
            var e = Assert.Throws<StoreBusyException>(() => impatient.BeginCapture("s", false));
            Assert.Contains("series \"s\"", e.Message, StringComparison.Ordinal);
            temp.Capture(Memory.Random(1, 3), "t");
        }

        temp.Capture(Memory.Random(1, 3), "s");
    }

    [Fact]
    public void A_session_that_gc_did_not_wait_for_may_not_commit()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        using var store = temp.Open();
        using var writer = store.BeginCapture("s", false);
        using (var db = Crstore.Store.Native.RocksDb.Open(new StorePaths(temp.Directory).Database, Crstore.Store.Native.RocksMode.ReadWrite))
        using (var batch = db.NewBatch())
        {
            StoreMeta.Put(batch, StoreMeta.GcFreed, 1);
            db.Write(batch);
        }

        Memory.Random(2, 3).WriteTo(writer.OpenSpace(new SpaceId(0), null));
        Assert.Throws<StoreBusyException>(() => writer.Commit(Memory.Manifest()));
        using var reader = store.OpenReader();
        Assert.Single(reader.Headers());
    }

    [Fact]
    public void A_reader_keeps_its_view_while_others_write()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 50);
        temp.Capture(memory);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        for (var i = 2; i < 40; i++) temp.Capture(Memory.Random(i, i % 4 == 0 ? 5200 : 50));
        Assert.Equal([1UL], reader.Headers().Select(h => h.Crid));
        using (var image = reader.OpenImage(new Crid(1))) memory.AssertEquals(image);
        using var later = store.OpenReader();
        Assert.Equal(39, later.Headers().Count());
    }

    [Fact]
    public void A_long_life_of_small_captures_leaves_few_files()
    {
        using var temp = new TempStore();
        for (var i = 0; i < 40; i++) temp.Capture(Memory.Random(i, 3), $"s{i % 3}");
        var paths = new StorePaths(temp.Directory);
        Assert.InRange(Directory.GetFiles(paths.Database, "*.log").Length, 1, 20);
        using (var db = Crstore.Store.Native.RocksDb.Open(paths.Database, Crstore.Store.Native.RocksMode.ReadWrite))
        {
            for (var i = 100; i < 170; i++) // as the flushes of a thousand captures would leave them
            {
                using var batch = db.NewBatch();
                batch.Put(Crstore.Store.Native.ColumnFamily.Bodies, Keys.Crid(new Crid((ulong)i)), [1, 2, 3]);
                db.Write(batch);
                db.Flush(Crstore.Store.Native.ColumnFamily.Bodies);
            }

            Crstore.Store.Native.Housekeeping.Run(db);
        }

        for (var i = 0; i < 40; i++) temp.Capture(Memory.Random(i, 3), $"s{i % 3}");
        using (var db = Crstore.Store.Native.RocksDb.Open(paths.Database, Crstore.Store.Native.RocksMode.ReadOnly))
            Assert.InRange(db.LiveFiles().Count(f => f.Family == Crstore.Store.Native.ColumnFamily.Bodies), 1, 64);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        Assert.Equal(80, reader.Headers().Count());
    }
}
