using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Crstore.Store.Layout;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>The store is opened for writing beside the packing: what comes of it if the packing fails, or the lock is not to be had.</summary>
public sealed class EarlyOpeningTests
{
    [Fact]
    public void Given_away_it_is_open_and_stays_so()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        using var store = temp.Open();
        var locked = false;
        WriteAccess access;
        var clock = new PhaseClock();
        using (var opening = EarlyOpening.Begin(store, "test", () => locked = true)) access = opening.Await(clock);
        using (access)
        {
            Assert.True(locked);
            Assert.True(IsLocked(temp));
            Assert.True(access.IsInPlace);
        }

        clock.Stop();
        Assert.Equal(["write lock", "open to write"], clock.Report().Select(p => p.Name));
        Assert.False(IsLocked(temp));
    }

    [Fact]
    public void Not_wanted_any_more_it_leaves_the_store_to_others()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        using (var store = temp.Open())
        {
            using var locked = new ManualResetEventSlim();
            using var opening = EarlyOpening.Begin(store, "test", locked.Set);
            locked.Wait(TestContext.Current.CancellationToken);
        }

        Assert.False(IsLocked(temp));
        temp.Capture(Memory.Random(2, 3));
    }

    [Fact]
    public void Given_up_while_it_waits_it_ends_at_once_and_takes_nothing()
    {
        using var temp = new TempStore(); // it waits for ten minutes
        temp.Capture(Memory.Random(1, 3));
        using var waits = new ManualResetEventSlim();
        temp.Options = temp.Options with { Waiting = _ => waits.Set() };
        using var store = temp.Open();
        using (HeldLock.Take(new StorePaths(temp.Directory).WriteLock, "gc", "the store", TimeSpan.Zero, null))
        {
            using var opening = EarlyOpening.Begin(store, "test", () => Assert.Fail("locked"));
            waits.Wait(TestContext.Current.CancellationToken);
        }

        Assert.False(IsLocked(temp));
    }

    [Fact]
    public void Who_interrupts_the_capture_ends_the_waiting()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        using var cancel = new CancellationTokenSource();
        temp.Options = temp.Options with { Waiting = _ => cancel.Cancel(), Cancel = cancel.Token };
        using (HeldLock.Take(new StorePaths(temp.Directory).WriteLock, "gc", "the store", TimeSpan.Zero, null))
            Assert.ThrowsAny<OperationCanceledException>(() => temp.Capture(Memory.Random(2, 3)));
        Assert.Empty(Directory.GetFiles(Path.Combine(temp.Directory, "sessions")));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_commit_that_fails_while_the_store_is_opened_leaves_it_to_others(bool keeps)
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        using (var store = temp.Open())
        {
            if (keeps) store.Keep();
            using var writer = store.BeginCapture("s", full: true);
            var memory = Memory.Random(2, 3);
            memory.WriteTo(writer.OpenSpace(new SpaceId(0), null));
            Assert.Throws<EnvironmentException>(() => writer.Commit(Refused()));
            Assert.False(IsLocked(temp));
        }

        temp.Capture(Memory.Random(3, 3));
        using var again = temp.Open();
        using var reader = again.OpenReader();
        Assert.Equal(2, reader.Headers().Count());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void As_soon_as_a_commit_is_near_it_is_opened_whatever_becomes_of_that(bool committed)
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 3));
        using var store = temp.Open();
        using (var writer = store.BeginCapture("s", full: true))
        {
            Memory.Random(2, 3).WriteTo(writer.OpenSpace(new SpaceId(0), null));
            Assert.False(IsLocked(temp));
            writer.Approach();
            Patience.Until(() => IsLocked(temp), "the write lock to be taken before the commit begins");
            writer.Approach(); // once is enough
            if (committed) writer.Commit(Memory.Manifest());
        }

        Assert.False(IsLocked(temp));
        using var reader = store.OpenReader();
        Assert.Equal(committed ? 2 : 1, reader.Headers().Count());
    }

    /// <summary>What opening takes is there when RocksDB takes it: beside a capture that completes its files it is not tried on a disk that is nearly full.</summary>
    [Theory]
    [InlineData("60m", false, false)]
    [InlineData("200m", true, false)]
    [InlineData("60m", false, true)]
    [InlineData("200m", true, true)]
    public void Where_little_is_free_it_is_not_opened_before_all_files_are_complete(string size, bool early, bool keeps)
    {
        using var mount = Mount.Tmpfs(size);
        var paths = new StorePaths(Path.Combine(mount.Path, "store"));
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(paths.Root), out _);
        if (keeps) store.Keep(); // it is not open yet, as behind each capture of a watch that has to wait
        using var writer = store.BeginCapture("s", full: true);
        Memory.Random(1, 3).WriteTo(writer.OpenSpace(new SpaceId(0), null));
        File.Delete(paths.Turn); // whoever wants the write lock makes it
        Assert.Throws<EnvironmentException>(() => writer.Commit(Refused()));
        Assert.Equal(early, File.Exists(paths.Turn));
    }

    // When it comes to what is wrong with it, all files are complete.
    private static CheckpointManifest Refused()
    {
        var manifest = Memory.Manifest();
        manifest.Body.Processes.Add(new Crstore.Model.Format.Process { Space = 0 }); // no two have one space
        return manifest;
    }

    private static bool IsLocked(TempStore temp)
    {
        using var free = HeldLock.TryShared(new StorePaths(temp.Directory).WriteLock);
        return free is null;
    }
}
