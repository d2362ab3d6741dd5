using System.Globalization;
using Crstore.Model;
using Crstore.Store;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

public sealed class DirectoryTests
{
    [Fact]
    public void Only_the_owner_can_read_a_store()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 6000));
        Assert.Equal((UnixFileMode)0b111_000_000, File.GetUnixFileMode(temp.Directory));
        foreach (var path in Directory.EnumerateFileSystemEntries(temp.Directory, "*", SearchOption.AllDirectories))
            Assert.Equal((UnixFileMode)(Directory.Exists(path) ? 0b111_000_000 : 0b110_000_000), File.GetUnixFileMode(path));
    }

    [Fact]
    public void A_directory_with_other_files_is_not_taken_over()
    {
        using var temp = new TempDir();
        File.WriteAllText(temp.File("letter.txt"), "dear");
        Assert.Throws<UsageException>(() => CheckpointStore.OpenOrCreate(new StoreOptions(temp.Path), out _));
        Assert.Throws<UsageException>(() => CheckpointStore.Open(new StoreOptions(temp.Path)));
        Assert.Equal([temp.File("letter.txt")], Directory.GetFileSystemEntries(temp.Path));
    }

    [Fact]
    public void A_file_system_of_its_own_may_be_a_store_with_its_lost_and_found()
    {
        using var temp = new TempDir();
        Directory.CreateDirectory(temp.File("lost+found"));
        Assert.Throws<UsageException>(() => CheckpointStore.Open(new StoreOptions(temp.Path)));
        CheckpointStore.OpenOrCreate(new StoreOptions(temp.Path), out var created).Dispose();
        Assert.True(created);
        Assert.True(Directory.Exists(temp.File("lost+found")));
    }

    [Fact]
    public void Opening_where_nothing_is_says_so_and_makes_nothing()
    {
        using var temp = new TempDir();
        var e = Assert.Throws<UsageException>(() => CheckpointStore.Open(new StoreOptions(temp.File("none"))));
        Assert.Contains("no store", e.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(temp.File("none")));
        File.WriteAllText(temp.File("file"), "");
        Assert.Throws<UsageException>(() => CheckpointStore.Open(new StoreOptions(temp.File("file"))));
    }

    [Fact]
    public void A_half_written_store_is_named_and_the_next_creation_completes_it()
    {
        using var temp = new TempStore();
        Directory.CreateDirectory(Path.Combine(temp.Directory, "db"));
        Directory.CreateDirectory(Path.Combine(temp.Directory, "sessions"));
        var e = Assert.Throws<EnvironmentException>(() => CheckpointStore.Open(temp.Options));
        Assert.Contains("half-written", e.Message, StringComparison.Ordinal);
        var a = temp.Capture(Memory.Random(1, 10));
        Assert.Equal(2UL, temp.Capture(Memory.Random(2, 10)).Crid);
        Assert.Equal(1UL, a.Crid);
    }

    [Fact]
    public void A_database_is_made_with_all_its_families_at_once_and_keeps_what_is_put_into_them()
    {
        using var temp = new TempDir();
        RocksDb.Create(temp.Path);
        Assert.Equal(["CURRENT", "IDENTITY", "MANIFEST-000001"], Directory.GetFiles(temp.Path).Select(Path.GetFileName).Order());
        var families = Enum.GetValues<ColumnFamily>();
        for (var round = 0; round < 2; round++)
        {
            using var db = RocksDb.Open(temp.Path, RocksMode.ReadWrite); // a family that it does not know would be an error, and so would one that is not named here
            using var batch = db.NewBatch();
            foreach (var family in families)
            {
                if (round > 0) Assert.Equal([(byte)family], db.Get(family, "key"u8)!); // and no other's
                batch.Put(family, "key"u8, [(byte)family]);
            }

            db.Write(batch);
            foreach (var family in families) db.Flush(family);
            db.Compact(ColumnFamily.Index, [], [], rewriteBottom: true);
        }

        using var reader = RocksDb.Open(temp.Path, RocksMode.ReadOnly);
        Assert.All(families, family => Assert.Equal([(byte)family], reader.Get(family, "key"u8)!));
    }

    [Fact]
    public void A_new_store_has_its_id_in_the_database_before_RocksDB_has_opened_that_and_ever_after()
    {
        using var temp = new TempStore();
        Guid id;
        using (var store = CheckpointStore.OpenOrCreate(temp.Options, out _)) id = store.Id;
        var database = new StorePaths(temp.Directory).Database;
        Assert.Empty(Directory.GetFiles(database, "OPTIONS-*")); // which opening for writing makes
        AssertIs(RocksMode.ReadOnly);
        for (var round = 0; round < 3; round++)
        {
            AssertIs(RocksMode.ReadWrite);
            temp.Capture(Memory.Random(round, 10));
        }

        AssertIs(RocksMode.ReadOnly);

        void AssertIs(RocksMode mode)
        {
            using var db = RocksDb.Open(database, mode);
            Assert.Equal(id, StoreMeta.StoreId(db));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_creation_that_was_cut_short_before_the_store_has_its_id_is_completed(bool half)
    {
        using var temp = new TempStore();
        var database = Directory.CreateDirectory(new StorePaths(temp.Directory).Database).FullName;
        RocksDb.Create(database);
        if (half) File.WriteAllText(Path.Combine(database, "000001.dbtmp"), "a part of the log");
        var memory = Memory.Random(1, 10);
        var crid = new Crid(temp.Capture(memory).Crid);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        Assert.Equal(store.Id, StoreMeta.StoreId(reader.Database));
        using var image = reader.OpenImage(crid);
        memory.AssertEquals(image);
    }

    [Fact]
    public void A_new_store_takes_one_file_of_options_where_RocksDB_alone_would_write_one_for_each_family()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 10));
        var options = Assert.Single(Directory.GetFiles(new StorePaths(temp.Directory).Database, "OPTIONS-*"));
        Assert.InRange(int.Parse(Path.GetFileName(options)["OPTIONS-".Length..], CultureInfo.InvariantCulture), 1, 9); // files are numbered
    }

    [Theory]
    [InlineData("MANIFEST-000001", "torn")]
    [InlineData("000001.dbtmp", "MANIF")]
    public void A_creation_that_was_cut_short_before_there_was_a_database_is_completed(string file, string content)
    {
        using var temp = new TempStore();
        var database = Directory.CreateDirectory(new StorePaths(temp.Directory).Database).FullName;
        File.WriteAllText(Path.Combine(database, file), content);
        var memory = Memory.Random(1, 10);
        var crid = new Crid(temp.Capture(memory).Crid);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(crid);
        memory.AssertEquals(image);
        Assert.Empty(Directory.GetFiles(database, "*.dbtmp"));
    }

    /// <summary>Earlier builds had RocksDB make the families one by one; others may.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void A_creation_that_was_cut_short_between_two_families_is_completed(int families)
    {
        using var temp = new TempStore();
        var database = Directory.CreateDirectory(new StorePaths(temp.Directory).Database).FullName;
        EmptyDatabase.Write(database, ["default", .. new[] { "chunks", "index", "maps" }.Take(families - 1)]);
        var memory = Memory.Random(1, 10);
        var crid = new Crid(temp.Capture(memory).Crid);
        using var store = temp.Open();
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(crid);
        memory.AssertEquals(image);
    }

    [Fact]
    public void A_lost_format_file_is_made_again_with_the_same_store_id_and_nothing_is_lost()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 10);
        var a = temp.Capture(memory);
        Guid id;
        using (var store = temp.Open()) id = store.Id;
        File.Delete(Path.Combine(temp.Directory, "format"));
        using var again = CheckpointStore.OpenOrCreate(temp.Options, out var created);
        Assert.True(created);
        Assert.Equal(id, again.Id);
        using var reader = again.OpenReader();
        using var image = reader.OpenImage(new Crid(a.Crid));
        memory.AssertEquals(image);
    }

    [Theory]
    [InlineData(10)] // in the log
    [InlineData(5200)] // in tables
    public void A_database_that_a_backup_brought_back_in_part_is_never_made_anew(int pages)
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, pages);
        var crid = new Crid(temp.Capture(memory).Crid);
        var paths = new StorePaths(temp.Directory);
        var format = File.ReadAllText(paths.Format);
        File.Delete(paths.Format);
        File.Move(Path.Combine(paths.Database, "CURRENT"), Path.Combine(paths.Root, "incoming", "CURRENT"));
        var e = Assert.Throws<StoreDamagedException>(() => CheckpointStore.OpenOrCreate(temp.Options, out _));
        Assert.Contains("CURRENT", e.Message, StringComparison.Ordinal);
        File.Move(Path.Combine(paths.Root, "incoming", "CURRENT"), Path.Combine(paths.Database, "CURRENT"));
        File.WriteAllText(paths.Format, format);
        using var store = CheckpointStore.Open(temp.Options);
        using var reader = store.OpenReader();
        using var image = reader.OpenImage(crid);
        memory.AssertEquals(image);
    }

    [Fact]
    public void A_database_that_does_not_open_is_told_with_something_that_helps()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 10));
        File.Delete(Path.Combine(temp.Directory, "db", "CURRENT"));
        using var store = CheckpointStore.Open(temp.Options);
        foreach (var open in new Action[] { () => store.OpenReader(), () => store.Forget([new Crid(1)], false) })
        {
            var e = Assert.Throws<StoreDamagedException>(open);
            Assert.Contains("CURRENT", e.Message, StringComparison.Ordinal);
            Assert.Contains("backup", e.Hint, StringComparison.Ordinal);
            Assert.DoesNotContain("verify", e.Hint, StringComparison.Ordinal); // it can't open it either
        }
    }

    [Fact]
    public void A_newer_format_is_refused_by_its_number()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 10));
        var path = Path.Combine(temp.Directory, "format");
        File.WriteAllText(path, File.ReadAllText(path).Replace($"format {FormatFile.CurrentVersion}", "format 7", StringComparison.Ordinal));
        foreach (var open in new Action[] { () => CheckpointStore.Open(temp.Options), () => CheckpointStore.OpenOrCreate(temp.Options, out _) })
        {
            var e = Assert.Throws<EnvironmentException>(open);
            Assert.Contains("format 7", e.Message, StringComparison.Ordinal);
            Assert.Contains("newer crstore", e.Hint, StringComparison.Ordinal);
        }

        File.WriteAllText(path, "nonsense");
        Assert.Throws<StoreDamagedException>(() => CheckpointStore.Open(temp.Options));
    }

    [Fact]
    public void A_read_only_store_can_be_listed_and_read_and_refuses_writes_by_name()
    {
        using var temp = new TempStore();
        var memory = Memory.Random(1, 200);
        var a = temp.Capture(memory);
        using var mount = Mount.ReadOnlyBind(temp.Directory);
        using var store = CheckpointStore.Open(temp.Options with { Directory = mount.Path });
        using (var reader = store.OpenReader())
        using (var image = reader.OpenImage(new Crid(a.Crid))) memory.AssertEquals(image);
        var e = Assert.Throws<EnvironmentException>(() => store.BeginCapture("s", false));
        Assert.Contains("errno 30", e.Message, StringComparison.Ordinal);
        Assert.Contains("read-only", e.Hint, StringComparison.Ordinal);
    }

    [Fact]
    public void A_full_disk_is_named_and_what_was_committed_stays_whole()
    {
        using var mount = Mount.Tmpfs("24m");
        var options = new StoreOptions(Path.Combine(mount.Path, "store"));
        var memory = Memory.Random(1, 200);
        Crid first;
        using (var store = CheckpointStore.OpenOrCreate(options, out _))
        {
            first = Capture(store, memory);
            for (var size = 100; size < 20_000; size *= 3) // fails at different steps: in the WAL, in an SST, while it opens
            {
                try
                {
                    for (var i = 0; i < 40; i++) Capture(store, Memory.Random(size + i, size));
                    Assert.True(size < 1000, "the disk never filled up");
                }
                catch (EnvironmentException e)
                {
                    Assert.Contains("No space left", e.Message, StringComparison.OrdinalIgnoreCase);
                    Assert.Contains("gc", e.Hint, StringComparison.Ordinal);
                }
            }
        }

        // Grown, everything works again.
        Run.Command("mount", ["-o", "remount,size=200m", mount.Path]).MustSucceed();
        using var again = CheckpointStore.Open(options);
        var last = Capture(again, memory);
        using var reader = again.OpenReader();
        Assert.True(reader.Headers().Count() > 2);
        foreach (var crid in new[] { first, last })
        {
            using var image = reader.OpenImage(crid);
            memory.AssertEquals(image);
        }
    }

    [Fact]
    public void A_writer_builds_on_no_wal_of_another_that_cannot_be_synced()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 10));
        var log = Path.Combine(temp.Directory, "db", "000001.log"); // RocksDB itself would take it for obsolete
        File.CreateSymbolicLink(log, "/dev/null");                  // fsync: EINVAL
        var e = Assert.Throws<EnvironmentException>(() => temp.Capture(Memory.Random(2, 10)));
        Assert.Contains("fsync", e.Message, StringComparison.Ordinal);
        Assert.Contains(log, e.Message, StringComparison.Ordinal);
        File.Delete(log);
        temp.Capture(Memory.Random(2, 10));
    }

    [Fact]
    public void What_a_dead_session_left_in_incoming_is_swept_and_a_living_one_is_left_alone()
    {
        using var temp = new TempStore();
        temp.Capture(Memory.Random(1, 10));
        var paths = new StorePaths(temp.Directory);
        File.WriteAllText(paths.IncomingFile(new Crid(77), "chunks", 0), "x");
        File.WriteAllText(Path.Combine(paths.Sessions, "77"), "1 0");
        using var store = temp.Open();
        using var living = store.BeginCapture("other", false);
        var mine = paths.IncomingFile(living.Crid, "chunks", 0);
        File.WriteAllText(mine, "x");
        var unlinked = Path.Combine(paths.Incoming, ".nfs0001"); // what NFS makes of a file that is unlinked while open
        File.WriteAllText(unlinked, "x");
        temp.Capture(Memory.Random(2, 10));
        Assert.Equal([unlinked, mine], Directory.GetFiles(paths.Incoming).Order(StringComparer.Ordinal));
        Assert.Equal([paths.Session(living.Crid)], Directory.GetFiles(paths.Sessions));
        File.Delete(mine);
    }

    private static Crid Capture(CheckpointStore store, Memory memory)
    {
        using var writer = store.BeginCapture("s", full: true);
        memory.WriteTo(writer.OpenSpace(new SpaceId(0), null));
        return new Crid(writer.Commit(Memory.Manifest()).Crid);
    }
}
