using Crstore.Linux;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Frames;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Tests.Store.Maintenance;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class DamageTests
{
    [Fact]
    public void Flipped_bytes_anywhere_are_damage_or_harmless_but_never_wrong_content()
    {
        var random = Seeds.Random();
        using var temp = new TempStore();
        var memories = new Dictionary<Crid, Memory>();
        for (var i = 0; i < 4; i++)
        {
            var memory = Memory.Random(i, i == 1 ? 5200 : 60); // one in SSTs, the others in the WAL
            memories.Add(new Crid(temp.Capture(memory, $"s{i}").Crid), memory);
        }

        var files = Directory.GetFiles(Path.Combine(temp.Directory, "db")).Where(f => new FileInfo(f).Length > 0 && !Path.GetFileName(f).StartsWith("LOG", StringComparison.Ordinal) &&
            !Path.GetFileName(f).StartsWith("OPTIONS", StringComparison.Ordinal)).ToList();
        int damaged = 0, harmless = 0;
        for (var round = 0; round < 60; round++)
        {
            var path = files[random.Next(files.Count)];
            var original = File.ReadAllBytes(path);
            var bytes = (byte[])original.Clone();
            bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
            File.WriteAllBytes(path, bytes);
            try
            {
                ReadAll(temp, memories);
                harmless++;
            }
            catch (StoreDamagedException)
            {
                damaged++;
            }
            catch (EnvironmentException e)
            {
                Assert.Contains("db", e.Message, StringComparison.Ordinal); // RocksDB names the file it can't make sense of
                damaged++;
            }

            File.WriteAllBytes(path, original);
        }

        Seeds.Print($"{damaged} found, {harmless} harmless, in {files.Count} files");
        Assert.True(damaged > 20, "hardly any damage was found");
        ReadAll(temp, memories);
    }

    [Theory] // all pages of a frame are checked together
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(15)]
    public void A_page_that_is_not_what_its_address_says_is_named_among_those_of_its_frame(int slot)
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 40);
        var crid = new Crid(temp.Capture(memory).Crid);
        var patched = memory.Clone();
        var page = 16 + (ulong)slot;
        patched.Touch(page, new Random(2));
        patched.Touch(20, new Random(3)); // and one that is whole
        var increment = new Crid(Chain.Increment(temp, memory, patched));
        StoreSurgery.SpoilPage(temp, new ChunkLocation(crid, (uint)page));
        using var store = temp.Open();
        using var reader = store.OpenReader();
        foreach (var each in new[] { crid, increment })
        {
            using var image = reader.OpenImage(each);
            var range = new PageRange(Memory.Base, 40);
            var error = Assert.Throws<StoreDamagedException>(() => image.Read(default, range, new byte[range.SizeBytes]));
            Assert.Contains($"page {Memory.Base + page}: ", error.Message, StringComparison.Ordinal);
            image.Read(default, new PageRange(Memory.Base, 16), new byte[16 * VirtualPage.Size]);
        }
    }

    // RocksDB takes it for a record that its writer was killed in: the commit was gone without a word.
    [Fact]
    public void A_damaged_length_at_the_end_of_a_log_is_no_torn_record()
    {
        using var temp = new TempStore();
        var memories = new Dictionary<Crid, Memory>();
        for (var i = 0; i < 3; i++)
        {
            var memory = Memory.Random(i, i == 1 ? 5200 : 60); // that one's commit is all that its log has
            memories.Add(new Crid(temp.Capture(memory, $"s{i}").Crid), memory);
        }

        var found = 0;
        foreach (var log in Directory.GetFiles(Path.Combine(temp.Directory, "db"), "*.log").Where(f => new FileInfo(f).Length > 0))
        {
            var original = File.ReadAllBytes(log);
            const int block = 32768, lengthAt = 4;
            for (var bit = 0; bit < 16; bit++)
            {
                var bytes = (byte[])original.Clone();
                bytes[(bytes.Length - 1) / block * block + lengthAt + bit / 8] ^= (byte)(1 << bit % 8);
                File.WriteAllBytes(log, bytes);
                Assert.Throws<StoreDamagedException>(() => ReadAll(temp, memories));
                found++;
            }

            File.WriteAllBytes(log, original);
        }

        Assert.True(found >= 16, "there was no log");
        ReadAll(temp, memories);
    }

    [Fact]
    public void A_missing_file_of_the_database_is_damage()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 5200);
        var crid = new Crid(temp.Capture(memory).Crid);
        var largest = Directory.GetFiles(Path.Combine(temp.Directory, "db"), "*.sst").MaxBy(f => new FileInfo(f).Length)!;
        File.Move(largest, largest + ".away");
        Assert.Throws<StoreDamagedException>(() => ReadAll(temp, new() { [crid] = memory }));
    }

    [Theory]
    [InlineData("MANIFEST-*")]
    [InlineData("*.log")]
    public void A_disk_that_cannot_be_read_is_damage(string file)
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 10));
        var path = Directory.GetFiles(Path.Combine(temp.Directory, "db"), file).Max()!;
        File.Delete(path);
        File.CreateSymbolicLink(path, "/proc/self/mem"); // reads at 0 fail with EIO
        using var store = CheckpointStore.Open(temp.Options);
        var e = Assert.Throws<StoreDamagedException>(() => store.OpenReader());
        Assert.Contains("Input/output error", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("IO error: While pread offset 4096 len 48: /s/db/000012.sst: Input/output error", typeof(StoreDamagedException))]
    [InlineData("IO error: While appending to file: /thread/000012.log: Input/output error", typeof(EnvironmentException))]
    [InlineData("IO error: While fdatasync: /s/read/000012.log: Input/output error", typeof(EnvironmentException))]
    [InlineData("IO error: While open a file for appending: /s/db/000012.log: Read-only file system", typeof(EnvironmentException))]
    [InlineData("IO error: While open a file for random read: /s/db/000012.sst: Permission denied", typeof(EnvironmentException))]
    public void A_failed_read_is_damage_and_a_failed_write_the_environment(string text, Type error) =>
        Assert.IsType(error, Crstore.Store.Native.RocksError.Of(text, "/s/db"));

    [Fact]
    public void A_damaged_index_entry_met_on_another_core_is_said_as_it_is()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 600);
        temp.Capture(Memory.Random(2, 3));
        Maintenance.StoreSurgery.Edit(temp, (batch, _) =>
        {
            foreach (var page in memory.Pages.Values)
            {
                var key = new byte[ContentHash.Size];
                PageHash.Of(page).Write(key);
                batch.Put(Crstore.Store.Native.ColumnFamily.Index, key, [1, 2, 3]);
            }
        });
        Assert.Throws<StoreDamagedException>(() => temp.Capture(memory));
    }

    [Theory]
    [InlineData(200)] // gathered: met by the commit
    [InlineData(600)] // taken in at once
    public void A_capture_that_met_damage_in_the_middle_of_its_pages_can_not_be_committed(int pages)
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 200));
        var next = Memory.Random(2, pages);
        Maintenance.StoreSurgery.Edit(temp, (batch, _) =>
        {
            var key = new byte[ContentHash.Size];
            PageHash.Of(next.Pages[100]).Write(key);
            batch.Put(Crstore.Store.Native.ColumnFamily.Index, key, [1, 2, 3]);
        });
        using var store = temp.Open();
        using (var writer = store.BeginCapture("s", full: false))
        {
            var space = writer.OpenSpace(new SpaceId(0), new SpaceId(0));
            var met = Record.Exception(() => next.WriteTo(space));
            Assert.Equal(pages > 512, met is not null);
            Assert.IsType<StoreDamagedException>(met ?? Record.Exception(() => writer.Commit(Memory.Manifest())));
            Assert.Equal((ulong)pages, writer.Counters.Dirty);
            Assert.Throws<InvalidOperationException>(() => writer.Commit(Memory.Manifest()));
        }

        using var reader = store.OpenReader();
        Assert.Single(reader.Headers());
    }

    [Fact]
    public void Errors_of_parallel_loops_are_those_of_their_bodies()
    {
        var places = Enumerable.Range(0, 100).ToList();
        Assert.Throws<EnvironmentException>(() => AllCores.For(0, places.Count, _ => throw new EnvironmentException("x")));
        Assert.Throws<EnvironmentException>(() => AllCores.ForEach(places, _ => throw new EnvironmentException("x")));
    }

    [Fact]
    public void Damage_of_a_page_names_checkpoint_process_and_page()
    {
        using var temp = new TempStore(new Compression(null));
        var memory = Memory.Random(1, 5200);
        var crid = new Crid(temp.Capture(memory).Crid);
        var path = Directory.GetFiles(Path.Combine(temp.Directory, "db"), "*.sst").MaxBy(f => new FileInfo(f).Length)!;
        var bytes = File.ReadAllBytes(path);
        var at = bytes.AsSpan().IndexOf(memory.Pages[1234].AsSpan(0, 64));
        bytes[at + 100] ^= 0xff;
        File.WriteAllBytes(path, bytes);
        var e = Assert.Throws<StoreDamagedException>(() => ReadAll(temp, new() { [crid] = memory }));
        Assert.Contains($"CRID {crid}", e.Message, StringComparison.Ordinal);
        Assert.Contains("42", e.Message, StringComparison.Ordinal);
        Assert.Contains($"page 0x{(Memory.Base + 1232).Address:x}", e.Message, StringComparison.Ordinal); // the first page of its frame
    }

    private static void ReadAll(TempStore temp, Dictionary<Crid, Memory> memories)
    {
        using var store = CheckpointStore.Open(temp.Options);
        using var reader = store.OpenReader();
        Assert.Equal(memories.Keys.Order(), reader.Headers().Select(h => new Crid(h.Crid)));
        foreach (var (crid, memory) in memories)
        {
            using var image = reader.OpenImage(crid);
            memory.AssertEquals(image);
        }
    }

    [Fact]
    public void Beside_a_table_with_a_damaged_block_writing_goes_on()
    {
        using var temp = new TempStore();
        var first = temp.Capture(Memory.Random(1, 20));
        var path = new StorePaths(temp.Directory).Database;
        MakeDamagedTable(path);

        // More tables than RocksDB wants: it begins to merge them as soon as it is open, meets the damage, and takes no writes any more.
        for (var i = 3; i < 6; i++) FlushFrames(path, i);
        using (var db = RocksDb.Open(path, RocksMode.ReadWrite))
        {
            System.Threading.Thread.Sleep(500);
            PutFrames(db, 6);
        }

        var memory = Memory.Random(2, 20);
        var second = temp.Capture(memory);
        Assert.Equal(first.Crid, second.ParentCrid);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(new Crid(second.Crid));
        memory.AssertEquals(image);
    }

    [Fact]
    public void Nor_does_the_merging_behind_a_commit_stop_the_next_one_of_who_keeps_the_store()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 20));
        var path = new StorePaths(temp.Directory).Database;
        MakeDamagedTable(path);
        for (var i = 3; i < 10; i++) FlushFrames(path, i); // so many that they are merged behind a commit
        using var store = temp.Open();
        Assert.NotNull(store.Keep());
        for (var i = 0; i < 3; i++)
        {
            var memory = Memory.Random(10 + i, 20);
            using var writer = store.BeginCapture("s", full: false);
            memory.WriteTo(writer.OpenSpace(new SpaceId(0), null));
            var crid = new Crid(writer.Commit(Memory.Manifest()).Crid);
            using var reader = store.OpenReader();
            using var image = reader.OpenImage(crid);
            memory.AssertEquals(image);
        }
    }

    /// <summary>One that a merge will meet, and nobody else.</summary>
    private static void MakeDamagedTable(string path)
    {
        for (var i = 0; i < 3; i++) FlushFrames(path, i);
        var table = new DirectoryInfo(path).GetFiles("*.sst").MaxBy(f => f.Length)!.FullName;
        using var file = new FileStream(table, FileMode.Open, FileAccess.ReadWrite);
        file.Position = file.Length / 2;
        var there = file.ReadByte();
        file.Position = file.Length / 2;
        file.WriteByte((byte)(there ^ 1));
    }

    private static void FlushFrames(string path, int i)
    {
        using var db = RocksDb.Open(path, RocksMode.ReadWrite);
        PutFrames(db, i);
        db.Flush(ColumnFamily.Chunks);
    }

    private static void PutFrames(RocksDb db, int i)
    {
        var frame = new byte[60_000];
        new Random(i).NextBytes(frame);
        using var batch = db.NewBatch();
        for (ulong n = 0; n < 4; n++)
        {
            var key = new byte[Keys.FrameSize];
            Keys.Frame(new FrameId(new Crid(1_000_000 + n), (uint)i), key);
            batch.Put(ColumnFamily.Chunks, key, frame);
        }

        db.Write(batch);
    }
}
