using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Layout;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>A disk without a free byte: RocksDB would abort the process that opens it for writing.</summary>
public sealed class FullDiskTests
{
    [Fact]
    public void On_a_full_disk_forget_and_gc_work_and_make_room_for_the_next_capture()
    {
        using var mount = Mount.Tmpfs("100m");
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(Path.Combine(mount.Path, "store")), out _);
        var memory = Memory.Random(1, 200);
        var first = Capture(store, Memory.Random(2, 3000));
        var second = Capture(store, memory);
        Fill(mount.Path);
        var e = Assert.Throws<EnvironmentException>(() => Capture(store, Memory.Random(3, 200)));
        Assert.Contains("No space left", e.Message, StringComparison.Ordinal);
        Assert.Contains("crstore forget", e.Hint, StringComparison.Ordinal);

        Assert.Equal([first], store.Forget([first], dryRun: false).Forgotten);
        Assert.InRange(store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, CancellationToken.None).ChunksFreed, 3000UL, 3000UL);
        var third = Capture(store, Memory.Random(3, 200));

        using var reader = store.OpenReader();
        Assert.Equal([second.Value, third.Value], reader.Headers().Select(h => h.Crid));
        using (var image = reader.OpenImage(second)) memory.AssertEquals(image);
        using (var image = reader.OpenImage(third)) Memory.Random(3, 200).AssertEquals(image);
    }

    [Fact]
    public void The_reserve_is_made_again_when_there_is_room()
    {
        using var mount = Mount.Tmpfs("100m");
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(Path.Combine(mount.Path, "store")), out _);
        var first = Capture(store, Memory.Random(1, 200));
        var reserve = new FileInfo(Path.Combine(store.Directory, "reserve"));
        var size = reserve.Length;
        Fill(mount.Path);
        store.Forget([first], dryRun: false);
        Assert.False(File.Exists(reserve.FullName));
        File.Delete(Path.Combine(mount.Path, "fill"));
        Capture(store, Memory.Random(2, 200));
        reserve.Refresh();
        Assert.Equal(size, reserve.Length);
    }

    [Fact]
    public void The_reserve_is_as_large_as_the_store_asks_for()
    {
        Assert.Equal(2 << 20, DiskRoom.ReserveFor(0));
        Assert.Equal(2 << 20, DiskRoom.ReserveFor(300 << 20));
        Assert.Equal(3 << 20, DiskRoom.ReserveFor(400 << 20));
        Assert.Equal(4 << 20, DiskRoom.ReserveFor(1UL << 40));
        using var mount = Mount.Tmpfs("100m");
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(Path.Combine(mount.Path, "store")), out _);
        Capture(store, Memory.Random(1, 200));
        var reserve = new FileInfo(Path.Combine(store.Directory, "reserve"));
        Assert.Equal(DiskRoom.ReserveFor(0), reserve.Length);
        using (var file = reserve.OpenWrite()) file.SetLength(1 << 20); // as that of a store that was smaller
        Capture(store, Memory.Random(2, 200));
        reserve.Refresh();
        Assert.Equal(DiskRoom.ReserveFor(0), reserve.Length);
    }

    [Fact]
    public void Without_a_reserve_every_writer_is_told_and_nothing_is_lost()
    {
        using var mount = Mount.Tmpfs("12m"); // too small for one
        using var store = CheckpointStore.OpenOrCreate(new StoreOptions(Path.Combine(mount.Path, "store")), out _);
        var memory = Memory.Random(1, 200);
        var crid = Capture(store, memory);
        Assert.False(File.Exists(Path.Combine(store.Directory, "reserve")));
        Fill(mount.Path);
        foreach (var write in new Action[]
        {
            () => Capture(store, Memory.Random(2, 200)),
            () => store.Forget([crid], dryRun: false),
            () => store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, CancellationToken.None),
        })
        {
            Assert.Contains("No space left", Assert.Throws<EnvironmentException>(write).Message, StringComparison.Ordinal);
        }

        using var reader = store.OpenReader();
        using var image = reader.OpenImage(crid);
        memory.AssertEquals(image);
        Assert.Empty(Directory.GetFiles(store.Directory, "room"));
    }

    /// <summary>Takes what is free, to the last page.</summary>
    internal static void Fill(string directory)
    {
        using var file = new FileStream(Path.Combine(directory, "fill"), FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
        var page = new byte[4096];
        try
        {
            while (true) file.Write(page);
        }
        catch (IOException)
        {
            return;
        }
    }

    private static Crid Capture(CheckpointStore store, Memory memory)
    {
        using var writer = store.BeginCapture("s", full: true);
        memory.WriteTo(writer.OpenSpace(new SpaceId(0), null));
        return new Crid(writer.Commit(Memory.Manifest()).Crid);
    }
}
