using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Store.Pending;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Store.Stores;

/// <summary>Checkpoints that are kept in memory until they are committed or discarded.</summary>
public sealed class MemoryOnlyTests : IDisposable
{
    private static readonly SpaceId Space = new(0);
    private readonly string root = Directory.CreateDirectory($"/dev/shm/crstore-test-{Guid.NewGuid():N}", (UnixFileMode)0b111_000_000).FullName;
    private readonly TempStore temp = new();
    private readonly List<string> warnings = [];
    private readonly CheckpointStore store;

    public MemoryOnlyTests()
    {
        temp.Options = temp.Options with { MemoryRoot = root, Warning = warnings.Add };
        store = temp.Open();
    }

    private string Place => Path.Combine(root, $"crstore-{ThisProcess.EffectiveUser()}");

    private string InMemory => Path.Combine(Place, $"{store.Id}");

    [Fact]
    public void A_checkpoint_in_memory_is_committed_under_its_CRID_and_reads_the_same()
    {
        var memory = Memory.Random(1, 500, zeroEvery: 7);
        var crid = Keep(memory);
        Assert.Empty(Committed());
        Reads(crid, memory);
        using (var view = store.OpenView())
        {
            Assert.True(view.IsInMemory(crid));
            Assert.Equal(crid, view.Resolve("s@latest"));
            Assert.Equal(1, Assert.Single(view.Series()).Checkpoints);
            Assert.Equal([crid], view.Verify([], new VerifyOptions(100), null, CancellationToken.None).Whole);
        }

        Assert.Equal(CapturedState.InMemory, store.StatusOf(crid)!.State);
        Assert.Equal(1, store.MemoryUse().Checkpoints);
        var before = Header(crid);

        var (header, written) = store.CommitFromMemory(crid, null, CancellationToken.None);
        Assert.True(written);
        Assert.Equal([crid], Committed());
        Assert.Equal((before.Crid, before.CapturedUnixNs, before.Pages.Zero, before.Pages.Dirty, before.Pages.Logical),
            (header.Crid, header.CapturedUnixNs, header.Pages.Zero, header.Pages.Dirty, header.Pages.Logical));
        Reads(crid, memory);
        Assert.Equal(CapturedState.Committed, store.StatusOf(crid)!.State);
        Assert.False(Directory.Exists(InMemory)); // nothing is left in it
        Assert.Empty(Directory.GetFiles(Path.Combine(store.Directory, "pending")));
        Assert.False(store.CommitFromMemory(crid, null, CancellationToken.None).Written);
        Whole();
    }

    [Fact]
    public void Pages_of_a_committed_one_lie_under_a_CRID_of_their_own_that_is_given_out_to_nobody_else()
    {
        var crid = Keep(Memory.Random(1, 300));
        store.CommitFromMemory(crid, null, CancellationToken.None);
        var next = new Crid(temp.Capture(Memory.Random(2, 10)).Crid);
        using var reader = store.OpenReader();
        using var i = reader.Database.Iterate(ColumnFamily.Chunks);
        Assert.True(i.SeekToFirst());
        Assert.InRange(Crstore.Store.Keys.CridOf(i.Key).Value, crid.Value + 1, next.Value - 1);
    }

    [Fact]
    public void The_last_one_of_a_chain_in_memory_is_committed_alone_and_the_others_go_their_own_ways()
    {
        var base0 = Memory.Random(1, 400);
        var (a, b, c) = (base0, Changed(base0, 2), Changed(base0, 3));
        var first = Keep(a);
        var second = Keep(b, parent: a);
        var third = Keep(c, parent: b);
        Assert.Equal([first.Value, second.Value], new[] { second, third }.Select(n => Header(n).ParentCrid));

        Assert.Equal(0UL, store.CommitFromMemory(third, null, CancellationToken.None).Header.ParentCrid);
        var ordinary = Changed(c, 4);
        Assert.Equal(third.Value, temp.Capture(ordinary).ParentCrid);
        // Older than both: no parent for what comes next.
        Assert.Equal(0UL, store.CommitFromMemory(first, null, CancellationToken.None).Header.ParentCrid);
        var last = temp.Capture(Changed(ordinary, 5));
        Assert.Equal(third.Value + 2, last.ParentCrid);
        Assert.Equal(first.Value, store.CommitFromMemory(second, null, CancellationToken.None).Header.ParentCrid);
        foreach (var (crid, memory) in new[] { (first, a), (second, b), (third, c), (new Crid(third.Value + 2), ordinary) }) Reads(crid, memory);
        Whole();
    }

    [Fact]
    public void What_a_commit_finds_in_the_store_is_not_stored_again()
    {
        var memory = Memory.Random(1, 600);
        var ordinary = temp.Capture(memory);
        var crid = Keep(Changed(memory, 2));
        Assert.Equal(0UL, Header(crid).ParentCrid); // nothing in memory to build on
        var header = store.CommitFromMemory(crid, null, CancellationToken.None).Header;
        Assert.Equal(ordinary.Crid, header.ParentCrid);
        Assert.InRange(header.Pages.Fresh, 1UL, 20UL);
        Assert.InRange(header.BytesStored, 1UL, ordinary.BytesStored / 10);
    }

    [Fact]
    public void CRIDs_of_both_stores_come_from_one_counter()
    {
        var memory = Memory.Random(1, 10);
        ulong[] given = [temp.Capture(memory).Crid, Keep(memory).Value, temp.Capture(memory).Crid, Keep(memory, memory).Value];
        Assert.Equal(given.Distinct().Order(), given);
        using var view = store.OpenView();
        Assert.Equal(given, view.Headers().Select(h => h.Crid));
        Assert.Equal([false, true, false, true], given.Select(n => view.IsInMemory(new Crid(n))));
    }

    [Fact]
    public void A_discarded_one_is_gone_and_its_memory_with_it_and_a_committed_one_is_refused()
    {
        var memory = Memory.Random(1, 3000);
        var committed = new Crid(temp.Capture(memory, "other").Crid);
        var (first, second) = (Keep(memory), Keep(Memory.Random(2, 10), full: true));
        var e = Assert.Throws<UsageException>(() => store.Discard([first, committed], CancellationToken.None));
        Assert.Contains($"CRID {committed} is committed; nothing was discarded", e.Message, StringComparison.Ordinal);
        Assert.Contains("crstore forget", e.Hint, StringComparison.Ordinal);
        Assert.Throws<UsageException>(() => store.Discard([first, new Crid(4711)], CancellationToken.None));
        Reads(first, memory); // all or none

        var before = store.MemoryUse().Bytes;
        store.Discard([first], CancellationToken.None);
        Assert.Contains($"there is no CRID {first}", Assert.Throws<UsageException>(() => Header(first)).Message, StringComparison.Ordinal);
        Assert.Null(store.StatusOf(first));
        Assert.InRange(store.MemoryUse().Bytes, 1UL, before - 500_000);
        Reads(second, Memory.Random(2, 10));
        store.Discard([second], CancellationToken.None);
        Assert.False(Directory.Exists(InMemory));
        Assert.Empty(warnings);
    }

    [Fact]
    public void One_that_is_in_both_stores_is_a_committed_one_and_forgotten_in_both()
    {
        var memory = Memory.Random(1, 50);
        var (first, second, third) = (Keep(memory), Keep(memory, memory), Keep(memory, memory));
        var aside = temp.Directory + ".memory";
        Run.Command("cp", ["-a", InMemory, aside]).MustSucceed();
        foreach (var crid in new[] { first, second, third }) store.CommitFromMemory(crid, null, CancellationToken.None);
        Run.Command("mv", [aside, InMemory]).MustSucceed(); // as if each commit had been killed before it took it out of memory

        using (var view = store.OpenView())
        {
            Assert.Equal([first.Value, second.Value, third.Value], view.Headers().Select(h => h.Crid));
            Assert.False(view.IsInMemory(first));
            Assert.Equal(3, Assert.Single(view.Series()).Checkpoints);
        }

        Assert.Throws<UsageException>(() => store.Discard([first], CancellationToken.None));
        Assert.Equal([first], store.Forget([first], dryRun: false).Forgotten);
        Assert.Throws<UsageException>(() => Header(first));
        Assert.False(store.CommitFromMemory(second, null, CancellationToken.None).Written);
        Assert.True(Directory.Exists(InMemory));
        store.TidyMemory(CancellationToken.None);
        Assert.False(Directory.Exists(InMemory));
        Assert.Equal([second, third], Committed());
    }

    [Fact]
    public void Forget_takes_committed_ones_and_those_in_memory_all_or_none()
    {
        var memory = Memory.Random(1, 50);
        var committed = new Crid(temp.Capture(memory).Crid);
        var crid = Keep(memory);
        Assert.Throws<UsageException>(() => store.Forget([committed, crid, new Crid(4711)], dryRun: false));
        Assert.Equal([committed, crid], store.Forget([crid, committed], dryRun: true).Forgotten);
        Reads(crid, memory);
        Assert.Equal([committed, crid], store.Forget([crid, committed], dryRun: false).Forgotten);
        Assert.Empty(Committed());
        Assert.False(Directory.Exists(InMemory));
    }

    [Fact]
    public void Of_several_commits_at_once_one_writes_and_all_succeed()
    {
        var memory = Memory.Random(1, 2000);
        var crid = Keep(memory);
        var written = new bool[4];
        Parallel.For(0, written.Length, i =>
        {
            using var mine = temp.Open();
            written[i] = mine.CommitFromMemory(crid, null, CancellationToken.None).Written;
        });
        Assert.Single(written, w => w);
        Reads(crid, memory);
        Whole();
    }

    [Fact]
    public void After_a_reboot_it_is_gone_and_that_is_told_for_a_while()
    {
        var crid = Keep(Memory.Random(1, 20));
        var note = Path.Combine(store.Directory, "pending", $"{crid}");
        Directory.Delete(Place, recursive: true);
        Assert.Contains("its memory was removed", Assert.Throws<UsageException>(() => Header(crid)).Message, StringComparison.Ordinal);
        File.WriteAllText(note, File.ReadAllText(note).Replace(SystemInfo.BootId(), "5f0c4b8e-0000-4000-8000-000000000000"));
        Told();
        File.SetLastWriteTimeUtc(note, DateTime.UtcNow.AddDays(-30)); // it was captured long before the reboot
        store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, CancellationToken.None);
        Told();
        store.TidyMemory(CancellationToken.None);
        Told();
        File.SetLastWriteTimeUtc(note, DateTime.UtcNow.AddDays(-30));
        store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, CancellationToken.None);
        Assert.Equal($"there is no CRID {crid} in {store.Directory}", Assert.Throws<UsageException>(() => Header(crid)).Message);
        Assert.InRange(temp.Capture(Memory.Random(1, 20)).Crid, crid.Value + 1, ulong.MaxValue);

        void Told()
        {
            foreach (var ask in new Action[] { () => Header(crid), () => store.CommitFromMemory(crid, null, CancellationToken.None), () => store.Discard([crid], CancellationToken.None) })
                Assert.Contains($"CRID {crid}", Assert.Throws<UsageException>(ask).Message, StringComparison.Ordinal);
            Assert.Contains("went with a reboot: this machine was started at", Assert.Throws<UsageException>(() => Header(crid)).Message, StringComparison.Ordinal);
            Assert.Equal((CapturedState.Failed, ExitCode.Usage), (store.StatusOf(crid)!.State, store.StatusOf(crid)!.ExitCode));
        }
    }

    [Fact]
    public void A_note_outlives_the_week_as_long_as_the_checkpoint_is_in_memory()
    {
        var crid = Keep(Memory.Random(1, 20));
        var note = Path.Combine(store.Directory, "pending", $"{crid}");
        File.SetLastWriteTimeUtc(note, DateTime.UtcNow.AddDays(-30));
        store.TidyMemory(CancellationToken.None);
        store.CollectGarbage(new GcOptions(false, TimeSpan.Zero), null, CancellationToken.None);
        Assert.True(File.Exists(note));
        Reads(crid, Memory.Random(1, 20));
    }

    [Theory]
    [InlineData("link")]
    [InlineData("open")]
    [InlineData("file")]
    [InlineData("foreign")]
    public void What_somebody_else_has_put_in_its_place_is_neither_used_nor_believed(string trap)
    {
        var elsewhere = Directory.CreateDirectory(Path.Combine(root, "elsewhere"), (UnixFileMode)0b111_000_000).FullName;
        switch (trap)
        {
            case "link": File.CreateSymbolicLink(Place, elsewhere); break;
            case "open": Directory.CreateDirectory(Place); File.SetUnixFileMode(Place, (UnixFileMode)0b111_111_111); break;
            case "file": File.WriteAllText(Place, ""); break;
            default:
                Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root can make a directory that is another one's");
                Directory.CreateDirectory(Place, (UnixFileMode)0b111_000_000);
                Run.Command("chown", ["65534", Place]).MustSucceed();
                break;
        }

        var ordinary = temp.Capture(Memory.Random(1, 10));
        Assert.Contains(Place, Assert.Throws<EnvironmentException>(() => store.BeginMemoryCapture("s", false, () => 0)).Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(elsewhere));
        using var view = store.OpenView();
        Assert.Equal([ordinary.Crid], view.Headers().Select(h => h.Crid));
        Assert.Contains(warnings, w => w.Contains(Place, StringComparison.Ordinal));
    }

    [Fact]
    public void A_place_that_is_not_in_memory_or_may_be_changed_by_others_is_refused()
    {
        temp.Options = temp.Options with { MemoryRoot = Path.GetDirectoryName(temp.Directory) };
        using (var other = temp.Open())
            if (RawFileType(temp.Directory) != Crstore.Linux.Memory.RawFile.TmpfsMagic)
                Assert.Contains("not on a tmpfs", Assert.Throws<EnvironmentException>(() => other.BeginMemoryCapture("s", false, () => 0)).Message, StringComparison.Ordinal);
        File.SetUnixFileMode(root, (UnixFileMode)0b111_111_111); // without the sticky bit
        Assert.Contains("may be changed by others", Assert.Throws<EnvironmentException>(() => store.BeginMemoryCapture("s", false, () => 0)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Where_memory_is_short_a_capture_ends_with_what_to_do_and_nothing_is_harmed()
    {
        using var mount = Mount.Tmpfs("64m");
        temp.Options = temp.Options with { MemoryRoot = mount.Path };
        using var small = temp.Open();
        var memory = Memory.Random(1, 100);
        var crid = Keep(memory, of: small);
        foreach (var attempt in new Action[] { () => Keep(Incompressible(16000), of: small), () => Keep(memory, full: true, of: small, estimate: 1UL << 30) })
        {
            var e = Assert.Throws<EnvironmentException>(attempt);
            Assert.Contains(mount.Path, e.Message, StringComparison.Ordinal);
            Assert.Contains("crstore discard", e.Hint, StringComparison.Ordinal);
        }

        FullDiskTests.Fill(mount.Path);
        Assert.Contains("crstore discard", Assert.Throws<EnvironmentException>(() => Keep(memory, of: small)).Hint, StringComparison.Ordinal);
        Assert.Single(Directory.GetFiles(Path.Combine(small.Directory, "pending"))); // of the one that is there
        using (var view = small.OpenView())
        using (var image = view.OpenImage(crid)) memory.AssertEquals(image);
        Assert.Empty(warnings);
        Assert.True(small.CommitFromMemory(crid, null, CancellationToken.None).Written); // and durable, though it can't be taken out
        Assert.Contains("still in memory too", Assert.Single(warnings), StringComparison.Ordinal);
        File.Delete(Path.Combine(mount.Path, "fill"));
        Assert.False(small.CommitFromMemory(crid, null, CancellationToken.None).Written);
        Assert.Equal(0, small.MemoryUse().Checkpoints);
        using (var view = small.OpenView())
        using (var image = view.OpenImage(crid)) memory.AssertEquals(image);
    }

    [Fact]
    public void A_machine_that_can_spare_no_memory_is_left_alone()
    {
        var spare = 100L << 20;
        temp.Options = temp.Options with { SpareMemory = () => spare };
        using var mine = temp.Open();
        Keep(Memory.Random(1, 10), of: mine);
        spare = 4 << 20;
        Assert.Contains("the machine can spare 4 MiB", Assert.Throws<EnvironmentException>(() => Keep(Memory.Random(1, 10), of: mine)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Trackers_that_one_store_has_caught_lying_are_trusted_in_neither()
    {
        using (var writer = store.BeginCapture("s", full: false)) writer.Commit(Memory.Manifest(0), TrackerKind.SoftDirty);
        Crid crid;
        using (var writer = store.BeginMemoryCapture("s", full: false, () => 0))
        {
            Assert.Equal([TrackerKind.SoftDirty], writer.DistrustedTrackers);
            crid = writer.Crid;
            writer.Commit(Memory.Manifest(0), TrackerKind.Uffd);
        }

        store.CommitFromMemory(crid, null, CancellationToken.None);
        using var next = store.BeginCapture("s", full: false);
        Assert.Equal([TrackerKind.SoftDirty, TrackerKind.Uffd], next.DistrustedTrackers.Order());
    }

    [Fact]
    public void A_tracker_that_lied_to_one_in_memory_is_trusted_by_nobody_whatever_becomes_of_that()
    {
        Crid crid;
        using (var writer = store.BeginMemoryCapture("s", full: false, () => 0))
        {
            crid = writer.Crid;
            writer.Commit(Memory.Manifest(0), TrackerKind.Uffd);
        }

        using (var ordinary = store.BeginCapture("s", full: false)) Assert.Equal([TrackerKind.Uffd], ordinary.DistrustedTrackers);
        store.Discard([crid], CancellationToken.None);
        Assert.False(Directory.Exists(InMemory));
        using (var again = store.BeginMemoryCapture("s", full: false, () => 0)) Assert.Equal([TrackerKind.Uffd], again.DistrustedTrackers);
        Assert.Empty(Committed());
    }

    [Fact]
    public void Two_that_lie_in_different_stores_are_compared_by_content()
    {
        var memory = Memory.Random(1, 100);
        var a = new Crid(temp.Capture(memory).Crid);
        var b = Keep(Changed(memory, 2));
        var c = Keep(memory, full: true);
        using var view = store.OpenView();
        Assert.Equal(5UL, view.Diff(a, b, null, CancellationToken.None).Spaces.Single().PagesChanged);
        Assert.Equal(0UL, view.Diff(a, c, null, CancellationToken.None).Spaces.Single().PagesChanged);
    }

    [Fact]
    public void Whoever_reads_one_keeps_it_and_a_capture_keeps_the_store()
    {
        var memory = Memory.Random(1, 200);
        var crid = Keep(memory);
        using var view = store.OpenView();
        using var image = view.OpenImage(crid);
        using (var writer = store.BeginMemoryCapture("other", full: false, () => 0))
        {
            store.Discard([crid], CancellationToken.None);
            memory.AssertEquals(image);
            memory.WriteTo(writer.OpenSpace(Space, null));
            writer.Commit(Memory.Manifest());
            Reads(writer.Crid, memory);
        }
    }

    [Fact]
    public void Whoever_reads_the_last_one_reads_on_when_its_memory_is_given_back()
    {
        var memory = Memory.Random(1, 200);
        var crid = Keep(memory);
        using var view = store.OpenView();
        using var image = view.OpenImage(crid);
        store.Discard([crid], CancellationToken.None);
        Assert.False(Directory.Exists(InMemory));
        memory.AssertEquals(image);
    }

    [Theory]
    [InlineData("open to others")]
    [InlineData("damaged")]
    public void What_is_wrong_with_the_memory_is_a_warning_to_gc(string what)
    {
        Keep(Memory.Random(1, 10));
        if (what == "damaged") File.WriteAllText(Path.Combine(InMemory, "format"), "nonsense");
        else File.SetUnixFileMode(Place, (UnixFileMode)0b111_111_111);
        store.TidyMemory(CancellationToken.None);
        Assert.Contains(warnings, w => w.Contains(Place, StringComparison.Ordinal));
        Assert.True(Directory.Exists(InMemory)); // who knows whose it is
    }

    [Fact]
    public void One_that_is_given_up_leaves_neither_note_nor_memory()
    {
        using (var writer = store.BeginMemoryCapture("s", full: false, () => 0)) Memory.Random(1, 10).WriteTo(writer.OpenSpace(Space, null));
        store.TidyMemory(CancellationToken.None);
        Assert.False(Directory.Exists(InMemory));
        Assert.False(Directory.Exists(Path.Combine(store.Directory, "pending")));
    }

    public void Dispose()
    {
        store.Dispose();
        temp.Dispose();
        Directory.Delete(root, recursive: true);
    }

    private static long RawFileType(string path) => Crstore.Linux.Memory.RawFile.FileSystemType(path);

    private static Memory Changed(Memory memory, int seed)
    {
        var changed = memory.Clone();
        changed.Fill(seed * 1000, 3 * seed, 5);
        return changed;
    }

    private static Memory Incompressible(int pages)
    {
        var (memory, random) = (new Memory(), new Random(1));
        for (ulong i = 0; i < (ulong)pages; i++)
        {
            var page = new byte[VirtualPage.Size];
            random.NextBytes(page);
            memory.Set(i, page);
        }

        return memory;
    }

    /// <summary>Captures into memory, what is as in the parent is kept.</summary>
    private Crid Keep(Memory memory, Memory? parent = null, bool full = false, CheckpointStore? of = null, ulong estimate = 0)
    {
        using var writer = (of ?? store).BeginMemoryCapture("s", full, () => estimate);
        var space = writer.OpenSpace(Space, writer.Parent is null ? null : Space);
        if (parent is not null) memory.Keep(space, p => parent.Pages.TryGetValue(p, out var before) && before.AsSpan().SequenceEqual(memory.Pages[p]));
        memory.WriteTo(space, memory.Pages.Keys.Where(p => parent is null || !parent.Pages.TryGetValue(p, out var before) || !before.AsSpan().SequenceEqual(memory.Pages[p])));
        writer.Commit(Memory.Manifest());
        return writer.Crid;
    }

    private List<Crid> Committed()
    {
        using var reader = store.OpenReader();
        return [.. reader.Headers().Select(h => new Crid(h.Crid))];
    }

    private CheckpointHeader Header(Crid crid)
    {
        using var view = store.OpenView();
        return view.Manifest(crid).Header;
    }

    private void Reads(Crid crid, Memory memory)
    {
        using var view = store.OpenView();
        using var image = view.OpenImage(crid);
        memory.AssertEquals(image);
    }

    private void Whole()
    {
        using var view = store.OpenView();
        var result = view.Verify([], new VerifyOptions(100), null, CancellationToken.None);
        Assert.Empty(result.Broken);
        Assert.Empty(result.StoreProblems);
        Assert.NotEmpty(result.Whole);
    }
}
